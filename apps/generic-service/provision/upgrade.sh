#!/bin/bash
# Installs all of Debian's updates of this release.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_update
say "Installing Debian's updates"
apt_get upgrade | grep -E '^(Setting up|[EW]:)' || [ "${PIPESTATUS[0]}" = 0 ]
