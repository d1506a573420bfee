#!/bin/bash
# Installs Gitea's binary as a service of user git and creates its administrator.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=1.26.4
sum=0faa36d151918f8f7d6e0f3ae67597d1c338583d695add146ac393109d0fc44a
conf=/etc/gitea/app.ini

[ "$(dpkg --print-architecture)" = amd64 ] || fail "this app is for amd64"
apt_install ca-certificates curl git openssh-server
fetch "https://dl.gitea.com/gitea/$version/gitea-$version-linux-amd64" "$sum" /var/tmp/gitea
install -m 755 /var/tmp/gitea /usr/local/bin/gitea
rm -f /var/tmp/gitea

say "Setting up the service"
# A login shell, because Git over SSH runs as this user.
getent passwd git >/dev/null || useradd --system --user-group --home-dir /var/lib/gitea --shell /bin/bash git
install -d -o git -g git -m 750 /var/lib/gitea
install -d -o root -g git -m 750 /etc/gitea

# Secrets are drawn once: new ones would make stored tokens unreadable.
kept() { sed -n "s/^$1 = //p" "$conf" 2>/dev/null | head -n 1; }
secret_key=$(kept SECRET_KEY)
internal_token=$(kept INTERNAL_TOKEN)
jwt_secret=$(kept JWT_SECRET)
host=${DOMAIN:-$GUEST_IP}
if [ -n "$DOMAIN" ]; then url=https://$DOMAIN/; else url=http://$GUEST_IP:3000/; fi
write_file "$conf" 640 root:git <<CONF
; Written by the installation.
APP_NAME = $INPUT_TITLE
RUN_USER = git
RUN_MODE = prod
WORK_PATH = /var/lib/gitea

[server]
HTTP_PORT = 3000
DOMAIN = $host
SSH_DOMAIN = $host
ROOT_URL = $url
LFS_START_SERVER = true

[database]
DB_TYPE = sqlite3
PATH = /var/lib/gitea/data/gitea.db

[repository]
ROOT = /var/lib/gitea/repositories

[service]
DISABLE_REGISTRATION = $([ "$INPUT_REGISTRATION" = true ] && echo false || echo true)

[security]
INSTALL_LOCK = true
SECRET_KEY = ${secret_key:-$(gitea generate secret SECRET_KEY)}
INTERNAL_TOKEN = ${internal_token:-$(gitea generate secret INTERNAL_TOKEN)}

[oauth2]
JWT_SECRET = ${jwt_secret:-$(gitea generate secret JWT_SECRET)}

[log]
LEVEL = info
CONF
write_file /etc/systemd/system/gitea.service 644 <<UNIT
[Unit]
Description=Gitea
After=network-online.target
Wants=network-online.target

[Service]
User=git
Group=git
WorkingDirectory=/var/lib/gitea
Environment=USER=git HOME=/var/lib/gitea GITEA_WORK_DIR=/var/lib/gitea
ExecStart=/usr/local/bin/gitea web --config $conf
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
UNIT
enable_unit gitea
say "Waiting for Gitea"
wait_for 90 curl -fsS -o /dev/null http://127.0.0.1:3000/api/healthz || fail "Gitea does not answer; see journalctl -u gitea"

as_git() { runuser -u git -- env HOME=/var/lib/gitea GITEA_WORK_DIR=/var/lib/gitea gitea --config "$conf" "$@"; }
if as_git admin user list | awk '{ print $2 }' | grep -qx "$INPUT_ADMIN"; then
    say "Keeping the administrator '$INPUT_ADMIN'"
else
    say "Creating the administrator '$INPUT_ADMIN'"
    # Gitea takes a password as an argument only; nobody else is in the container while this runs.
    as_git admin user create --admin --must-change-password=false --username "$INPUT_ADMIN" --email "$INPUT_EMAIL" \
        --password "$(input password)" >/dev/null
fi
say "Gitea is ready on port 3000"
