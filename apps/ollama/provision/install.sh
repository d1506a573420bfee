#!/bin/bash
# Installs Ollama's release as a service of its own user and, with an NVIDIA GPU, the driver's libraries.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=0.32.7
sum=ed1e39fe8fea90bd7f4c723bd949a2cea3153e111220ec0a183ea5b8dc8b2cae
home=/opt/ollama/$version

[ "$(dpkg --print-architecture)" = amd64 ] || fail "this app is for amd64"
apt_install ca-certificates curl zstd
if [ ! -x "$home/bin/ollama" ]; then
    fetch "https://github.com/ollama/ollama/releases/download/v$version/ollama-linux-amd64.tar.zst" "$sum" /var/tmp/ollama.tar.zst
    say "Unpacking Ollama $version"
    rm -rf "$home.new"
    mkdir -p "$home.new"
    tar --extract --zstd --file /var/tmp/ollama.tar.zst --directory "$home.new" --no-same-owner
    mv "$home.new" "$home"
    rm -f /var/tmp/ollama.tar.zst
fi
ln -sfn "$home/bin/ollama" /usr/local/bin/ollama

gpu=processor
system_user ollama /var/lib/ollama
if [ -e /dev/nvidiactl ]; then
    nvidia_libraries "$INPUT_NVIDIA_SHA256"
    gpu_user ollama
    gpu="NVIDIA GPU"
fi

say "Setting up the service"
install -d -o ollama -g ollama -m 755 /var/lib/ollama
write_file /etc/systemd/system/ollama.service 644 <<UNIT
[Unit]
Description=Ollama
After=network-online.target
Wants=network-online.target

[Service]
User=ollama
Group=ollama
Environment=HOME=/var/lib/ollama OLLAMA_HOST=0.0.0.0:11434 OLLAMA_MODELS=/var/lib/ollama/models OLLAMA_KEEP_ALIVE=$INPUT_KEEP_ALIVE
ExecStart=$home/bin/ollama serve
Restart=always
RestartSec=3

[Install]
WantedBy=multi-user.target
UNIT
enable_unit ollama
wait_for 60 curl -fsS -o /dev/null http://127.0.0.1:11434/api/version || fail "Ollama does not answer; see journalctl -u ollama"
if [ -n "$INPUT_MODEL" ]; then
    say "Downloading the model $INPUT_MODEL"
    OLLAMA_HOST=127.0.0.1:11434 HOME=/root ollama pull "$INPUT_MODEL" >/dev/null 2>&1 || fail "the model $INPUT_MODEL cannot be had"
fi
# Releases before this one are not needed any more.
find /opt/ollama -mindepth 1 -maxdepth 1 -type d ! -name "$version" -exec rm -rf {} +
fact gpu "$gpu"
say "Ollama is ready on port 11434, on the $gpu"
