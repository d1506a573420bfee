#!/bin/bash
# Brings the web server to Debian's newest version of it.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

case "$INPUT_SERVER" in
    nginx) apt_upgrade nginx nginx-common nginx-light ;;
    apache) apt_upgrade apache2 apache2-bin apache2-utils apache2-data ;;
esac
