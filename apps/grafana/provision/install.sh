#!/bin/bash
# Installs Grafana, sets the administrator's password and, if given, Prometheus as its source.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_repository grafana https://apt.grafana.com/gpg.key \
    B53AE77BADB630A683046005963FA27710458545 "https://apt.grafana.com stable main" grafana
apt_install grafana=13.2.3

say "Setting up Grafana"
{
    env_line GF_ANALYTICS_REPORTING_ENABLED false
    env_line GF_ANALYTICS_CHECK_FOR_UPDATES false
    env_line GF_USERS_ALLOW_SIGN_UP false
    if [ -n "$DOMAIN" ]; then
        env_line GF_SERVER_DOMAIN "$DOMAIN"
        env_line GF_SERVER_ROOT_URL "https://$DOMAIN/"
    fi
} | write_file /etc/grafana/ironhatch.env 640 root:grafana
write_file /etc/systemd/system/grafana-server.service.d/ironhatch.conf 644 <<'UNIT'
[Service]
EnvironmentFile=/etc/grafana/ironhatch.env
UNIT
source=/etc/grafana/provisioning/datasources/ironhatch.yaml
if [ -n "$INPUT_PROMETHEUS_URL" ]; then
    write_file "$source" 640 root:grafana <<YAML
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    access: proxy
    url: $INPUT_PROMETHEUS_URL
    isDefault: true
YAML
else
    rm -f "$source"
fi
enable_unit grafana-server
say "Waiting for Grafana's database"
wait_for 120 curl -fsS -o /dev/null http://127.0.0.1:3000/api/health || fail "Grafana does not answer; see journalctl -u grafana-server"

say "Setting the administrator's password"
# From standard input; as Grafana's own user, because the database belongs to it.
input admin_password | runuser -u grafana -- grafana cli --homepath /usr/share/grafana --config /etc/grafana/grafana.ini \
    admin reset-admin-password --password-from-stdin >/dev/null
say "Grafana is ready on port 3000"
