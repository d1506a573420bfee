#!/bin/bash
# Installs Open WebUI from PyPI into a virtual environment, as a service of its own user.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=0.12.4
# SHA-256 of open_webui-0.12.4-py3-none-any.whl in PyPI.
sum=02e9caba96234db3fa17a92e56163b3f7f2b8ca8227fa886b85c178d696483f6
home=/opt/open-webui

apt_install python3 python3-venv python3-dev build-essential ffmpeg curl
if [ "$("$home/bin/pip" show open-webui 2>/dev/null | sed -n 's/^Version: //p')" != "$version" ]; then
    python3 -m venv "$home"
    work=$(mktemp -d)
    say "Downloading Open WebUI $version"
    "$home/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "open-webui==$version"
    wheel=$work/open_webui-$version-py3-none-any.whl
    printf '%s  %s\n' "$sum" "$wheel" | sha256sum --check --status \
        || fail "Open WebUI $version is not the package that was expected; nothing of it is used"
    say "Installing Open WebUI and its dependencies: some gigabytes, this takes a while"
    "$home/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir "$wheel"
    rm -rf "$work"
fi

say "Setting up the service"
system_user open-webui /var/lib/open-webui
install -d -o open-webui -g open-webui -m 750 /var/lib/open-webui
{
    env_line DATA_DIR /var/lib/open-webui
    env_line WEBUI_SECRET_KEY "$(input session_key)"
    env_line ENABLE_SIGNUP "$INPUT_SIGNUP"
    env_line ANONYMIZED_TELEMETRY false
    env_line SCARF_NO_ANALYTICS true
    env_line HF_HOME /var/lib/open-webui/huggingface
    if [ -n "$INPUT_OLLAMA_URL" ]; then env_line OLLAMA_BASE_URL "$INPUT_OLLAMA_URL"; fi
    if [ -n "$DOMAIN" ]; then env_line WEBUI_URL "https://$DOMAIN"; fi
} | write_file /etc/open-webui.env 600
write_file /etc/systemd/system/open-webui.service 644 <<UNIT
[Unit]
Description=Open WebUI
After=network-online.target
Wants=network-online.target

[Service]
User=open-webui
WorkingDirectory=/var/lib/open-webui
EnvironmentFile=/etc/open-webui.env
ExecStart=$home/bin/open-webui serve --host 0.0.0.0 --port 8080
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
ProtectSystem=full
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
enable_unit open-webui
say "Open WebUI starts on port 8080; the first start loads a model for search"
