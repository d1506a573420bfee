#!/bin/bash
# Brings Redis to Debian's newest package of this release.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_upgrade redis-server redis-tools
