#!/bin/bash
# Healthy: the tools are there, systemd has no failed unit, and Docker answers where it is installed.
set -euo pipefail

for tool in curl git jq rsync tmux; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
failed=$(systemctl --failed --plain --no-legend | awk '{ print $1 }' | xargs)
[ -z "$failed" ] || { echo "units have failed: $failed" >&2; exit 1; }
if [ -e /etc/docker/daemon.json ]; then
    docker info --format '{{.ServerVersion}}' >/dev/null
fi
