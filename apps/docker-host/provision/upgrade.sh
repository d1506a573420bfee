#!/bin/bash
# Brings Docker to Debian's newest package of this release; running containers go on (live-restore).
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_upgrade docker.io docker-compose containerd runc
wait_for 60 docker info || fail "Docker does not start; see journalctl -u docker"
