#!/bin/bash
# Sets up what was chosen beside the base tools: Docker, daily security updates.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

software="Debian base tools"

if [ "$INPUT_DOCKER" = true ]; then
    apt_install docker.io docker-compose iptables
    # Logs of containers would otherwise grow until the disk is full. Limits that are there already stay.
    if [ ! -e /etc/docker/daemon.json ]; then
        write_file /etc/docker/daemon.json 644 <<'JSON'
{
  "log-driver": "json-file",
  "log-opts": { "max-size": "10m", "max-file": "3" }
}
JSON
    fi
    say "Starting Docker"
    enable_unit docker
    version=$(docker version --format '{{.Server.Version}}')
    say "Docker $version answers"
    software="$software, Docker $version"
fi

if [ "$INPUT_UPDATES" = true ]; then
    apt_install unattended-upgrades
    write_file /etc/apt/apt.conf.d/20auto-upgrades 644 <<'CONF'
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
CONF
    enable_unit apt-daily.timer apt-daily-upgrade.timer
    say "Security updates are installed every day"
else
    rm -f /etc/apt/apt.conf.d/20auto-upgrades
fi

fact software "$software"
