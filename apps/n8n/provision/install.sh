#!/bin/bash
# Installs n8n from npm on Node.js 24, as a service of its own user.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=2.41.3
# dist.integrity of this version in the npm registry: SHA-512, base64.
integrity="CoBFPlsSYI2FYtbIjnTMVmwqBZ4QXAQn9Bs6EVPmXnO7Cfh9rdBe58A2PH4Rzv7yBhUmGBZSxlmhISaQXmIQcw=="

apt_repository nodesource https://deb.nodesource.com/gpgkey/nodesource-repo.gpg.key \
    6F71F525282841EEDAF851B42F59B5F99B1BE0B4 "https://deb.nodesource.com/node_24.x nodistro main" nodejs
# Compiler and Python are for dependencies with native parts.
apt_install 'nodejs=24.*' build-essential openssl python3

if [ "$(n8n --version 2>/dev/null || true)" != "$version" ]; then
    work=$(mktemp -d)
    say "Downloading n8n $version"
    (cd "$work" && npm pack --silent "n8n@$version" >/dev/null)
    got=$(openssl dgst -sha512 -binary "$work/n8n-$version.tgz" | base64 -w 0)
    [ "$got" = "$integrity" ] || fail "n8n $version is not the package that was expected; nothing of it is used"
    say "Installing n8n $version and its dependencies; this takes some minutes"
    npm install --global --no-audit --no-fund --loglevel=error "$work/n8n-$version.tgz"
    rm -rf "$work"
fi

say "Setting up the service"
system_user n8n /var/lib/n8n
install -d -o n8n -g n8n -m 750 /var/lib/n8n
{
    env_line N8N_ENCRYPTION_KEY "$(input encryption_key)"
    env_line N8N_USER_FOLDER /var/lib/n8n
    env_line N8N_PORT 5678
    env_line GENERIC_TIMEZONE "$INPUT_TIMEZONE"
    env_line N8N_DIAGNOSTICS_ENABLED false
    env_line N8N_RUNNERS_ENABLED true
    if [ -n "$DOMAIN" ]; then
        env_line N8N_HOST "$DOMAIN"
        env_line N8N_PROTOCOL https
        env_line WEBHOOK_URL "https://$DOMAIN/"
        env_line N8N_PROXY_HOPS 1
    else
        # Without TLS a browser would not send the session's cookie back.
        env_line N8N_SECURE_COOKIE false
    fi
} | write_file /etc/n8n.env 600
write_file /etc/systemd/system/n8n.service 644 <<'UNIT'
[Unit]
Description=n8n workflow automation
After=network-online.target
Wants=network-online.target

[Service]
User=n8n
WorkingDirectory=/var/lib/n8n
EnvironmentFile=/etc/n8n.env
ExecStart=/usr/bin/n8n start
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
enable_unit n8n
say "n8n starts on port 5678"
