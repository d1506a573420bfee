#!/bin/bash
# Installs cloudflared as a service of its own user.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=2026.7.1
sum=79a0ade7fc854f62c1aaef48424d9d979e8c2fcd039189d24db82b84cd146be1

[ "$(dpkg --print-architecture)" = amd64 ] || fail "this app is for amd64"
token=$(input token)
case "$token" in *[!A-Za-z0-9_=.-]*) fail "this is not a tunnel token: it has letters, digits, '_', '-' and '=' only" ;; esac

fetch "https://github.com/cloudflare/cloudflared/releases/download/$version/cloudflared-linux-amd64" "$sum" /var/tmp/cloudflared
install -m 755 /var/tmp/cloudflared /usr/local/bin/cloudflared
rm -f /var/tmp/cloudflared

say "Setting up the service"
system_user cloudflared /var/lib/cloudflared
# Read by systemd as root; the service's user gets the value, not the file.
env_line TUNNEL_TOKEN "$token" | write_file /etc/cloudflared/env 600
write_file /etc/systemd/system/cloudflared.service 644 <<UNIT
[Unit]
Description=Cloudflare Tunnel
After=network-online.target
Wants=network-online.target

[Service]
User=cloudflared
EnvironmentFile=/etc/cloudflared/env
ExecStart=/usr/local/bin/cloudflared tunnel --no-autoupdate --protocol $INPUT_PROTOCOL --metrics 0.0.0.0:2000 run
Restart=always
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
enable_unit cloudflared
fact version "$version"
say "Waiting for the connection is the health check's part"
