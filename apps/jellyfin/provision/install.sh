#!/bin/bash
# Installs Jellyfin and, for the GPUs that the container was given, what transcoding needs.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=10.11.11+deb12

apt_repository jellyfin https://repo.jellyfin.org/jellyfin_team.gpg.key 4918AABC486CA052358D778D49023CD01DE21A7B \
    "https://repo.jellyfin.org/debian bookworm main" 'jellyfin*'
apt_install "jellyfin-server=$version" "jellyfin-web=$version" jellyfin-ffmpeg7 curl

gpu=none
if compgen -G '/dev/dri/renderD*' >/dev/null; then
    say "Setting up VAAPI"
    # Jellyfin's ffmpeg brings its drivers; vainfo is for looking.
    apt_install vainfo
    gpu_user jellyfin
    gpu="VAAPI on $(compgen -G '/dev/dri/renderD*' | xargs)"
fi
if [ -e /dev/nvidiactl ]; then
    nvidia_libraries "$INPUT_NVIDIA_SHA256"
    gpu="NVENC"
fi
fact gpu "$gpu"

say "Setting up Jellyfin"
install -d -m 755 "$INPUT_MEDIA"
enable_unit jellyfin
say "Waiting for Jellyfin"
wait_for 120 curl -fsS -o /dev/null http://127.0.0.1:8096/health || fail "Jellyfin does not answer; see journalctl -u jellyfin"
if [ "$gpu" != none ] && [ "$gpu" != NVENC ]; then
    runuser -u jellyfin -- test -r "$(compgen -G '/dev/dri/renderD*' | head -n 1)" \
        || say "Warning: the service's user cannot open the GPU; its group number in the container must be that of 'render'"
fi
say "Jellyfin is ready on port 8096; hardware transcoding: $gpu"
