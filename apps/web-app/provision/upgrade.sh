#!/bin/bash
# Brings nginx and the runtime to Debian's newest packages of this release.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_update
say "Installing Debian's updates"
apt_get upgrade | grep -E '^(Setting up|[EW]:)' || [ "${PIPESTATUS[0]}" = 0 ]
if systemctl is-enabled --quiet web-app 2>/dev/null; then
    say "Restarting the application"
    systemctl restart web-app
fi
