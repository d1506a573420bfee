#!/bin/bash
# Writes Prometheus's configuration: itself, the node exporter here, discovered guests, the operator's own targets.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

conf=/etc/prometheus
token=$(input discovery_token "")
discovery=${INPUT_DISCOVERY_URL:-}
if [ -z "$discovery" ] && [ -n "$token" ]; then discovery=$SITE_TARGETS; fi

say "Writing $conf/prometheus.yml"
if [ -n "$token" ]; then
    write_file "$conf/discovery.token" 640 root:prometheus <<<"$token"
else
    rm -f "$conf/discovery.token"
fi
{
    cat <<YAML
# Written by the installation. Targets of your own: files in $conf/targets/*.yml; rules: $conf/rules/*.yml.
global:
  scrape_interval: ${INPUT_INTERVAL_SEC}s
  evaluation_interval: ${INPUT_INTERVAL_SEC}s
rule_files:
  - $conf/rules/*.yml
scrape_configs:
  - job_name: prometheus
    static_configs:
      - targets: ["localhost:9090"]
  - job_name: node
    static_configs:
      - targets: ["localhost:9100"]
        labels: { instance: "$GUEST_NAME" }
YAML
    if [ -n "${INPUT_TARGETS:-}" ]; then
        printf '      - targets:\n'
        for target in $INPUT_TARGETS; do
            printf '          - "%s"\n' "$target"
        done
    fi
    cat <<YAML
  - job_name: files
    file_sd_configs:
      - files: ["$conf/targets/*.yml"]
YAML
    if [ -n "$discovery" ]; then
        cat <<YAML
  - job_name: guests
    http_sd_configs:
      - url: "$discovery"
YAML
        if [ -n "$token" ]; then
            printf '        authorization:\n          credentials_file: %s/discovery.token\n' "$conf"
        fi
    fi
} | write_file "$conf/prometheus.yml" 644
mkdir -p "$conf/targets" "$conf/rules"

if [ ! -e "$conf/rules/nodes.yml" ]; then
    write_file "$conf/rules/nodes.yml" 644 <<'YAML'
groups:
  - name: nodes
    rules:
      - alert: TargetDown
        expr: up == 0
        for: 5m
        labels: { severity: warning }
        annotations: { summary: "{{ $labels.instance }} of {{ $labels.job }} does not answer" }
      - alert: DiskAlmostFull
        expr: node_filesystem_avail_bytes{fstype!~"tmpfs|overlay"} / node_filesystem_size_bytes < 0.1
        for: 15m
        labels: { severity: warning }
        annotations: { summary: "{{ $labels.mountpoint }} of {{ $labels.instance }} is more than 90 % full" }
YAML
fi

write_file /etc/default/prometheus 644 <<CONF
# Written by the installation; see prometheus --help.
ARGS="--storage.tsdb.retention.time=${INPUT_RETENTION_DAYS}d"
CONF

say "Checking the configuration"
promtool check config "$conf/prometheus.yml" >/dev/null
enable_unit prometheus-node-exporter prometheus
say "Prometheus runs on port 9090"
