#!/bin/bash
# Sets the node exporter's options.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

say "Setting up the node exporter"
mkdir -p "$INPUT_TEXTFILES"
options="--collector.textfile.directory=$INPUT_TEXTFILES"
if [ "$INPUT_UNITS" = true ]; then
    options="$options --collector.systemd"
fi
write_file /etc/default/prometheus-node-exporter 644 <<CONF
# Written by the installation; see prometheus-node-exporter --help.
ARGS="$options"
CONF
enable_unit prometheus-node-exporter
