#!/bin/bash
# Brings Prometheus and the node exporter to Debian's newest packages of this release.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_upgrade prometheus prometheus-node-exporter
