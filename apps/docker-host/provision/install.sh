#!/bin/bash
# Sets Docker's address ranges, log limits and clean-up, and proves that the daemon works.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

say "Setting up Docker"
write_file /etc/docker/daemon.json 644 <<JSON
{
  "log-driver": "json-file",
  "log-opts": { "max-size": "${INPUT_LOG_MB}m", "max-file": "3" },
  "default-address-pools": [{ "base": "$INPUT_POOL", "size": 24 }],
  "live-restore": true
}
JSON
install -d -m 750 /srv/stacks

write_file /etc/systemd/system/docker-cleanup.service 644 <<'UNIT'
[Unit]
Description=Remove container images that nothing uses
Requires=docker.service
After=docker.service

[Service]
Type=oneshot
ExecStart=/usr/bin/docker image prune --all --force --filter until=168h
UNIT
write_file /etc/systemd/system/docker-cleanup.timer 644 <<'UNIT'
[Unit]
Description=Weekly clean-up of container images

[Timer]
OnCalendar=weekly
RandomizedDelaySec=6h
Persistent=yes

[Install]
WantedBy=timers.target
UNIT
enable_unit containerd docker
if [ "$INPUT_CLEANUP" = true ]; then
    enable_unit docker-cleanup.timer
else
    systemctl disable --now --quiet docker-cleanup.timer 2>/dev/null || true
fi

say "Waiting for Docker"
wait_for 60 docker info || {
    journalctl --no-pager --unit docker --lines 20 >&2
    fail "Docker does not start: the container needs the features nesting and keyctl"
}
fact version "$(docker version --format '{{.Server.Version}}')"
fact storage "$(docker info --format '{{.Driver}}')"
case "$(docker info --format '{{.Driver}}')" in
    vfs) say "Docker uses the storage driver vfs, which copies whole images: give /var/lib/docker a volume on ext4" ;;
esac
say "Docker is ready"
