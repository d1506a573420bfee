#!/bin/bash
# Installs Paperless-ngx from its release as upstream's bare-metal route has it: PostgreSQL, Redis, a virtual environment and
# four services.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=2.20.6
sum=febfdc3426fc04da33e42b0ffa5bb315172eea2d18796d9873c1fb863356e1ee
code=/opt/paperless/$version
data=/var/lib/paperless

languages=()
for language in ${INPUT_LANGUAGES//+/ }; do languages+=("tesseract-ocr-$language"); done
apt_install python3 python3-venv python3-dev build-essential pkg-config libpq-dev default-libmysqlclient-dev libmagic1 \
    imagemagick fonts-liberation gnupg mime-support libzbar0 poppler-utils unpaper ghostscript icc-profiles-free qpdf \
    pngquant tesseract-ocr "${languages[@]}" redis-server postgresql xz-utils curl

system_user paperless "$data"
install -d -o paperless -g paperless -m 750 "$data" "$data/data" "$data/media" "$data/consume"

if [ ! -e "$code/.complete" ]; then
    fetch "https://github.com/paperless-ngx/paperless-ngx/releases/download/v$version/paperless-ngx-v$version.tar.xz" "$sum" /var/tmp/paperless.tar.xz
    rm -rf "$code"
    mkdir -p "$code"
    tar --extract --xz --file /var/tmp/paperless.tar.xz --directory "$code" --strip-components 1 --no-same-owner
    rm -f /var/tmp/paperless.tar.xz
    say "Installing the Python packages of requirements.txt; this takes some minutes"
    python3 -m venv "$code/venv"
    "$code/venv/bin/pip" install --quiet --disable-pip-version-check --no-cache-dir -r "$code/requirements.txt"
    touch "$code/.complete"
fi

say "Setting up the database"
enable_unit postgresql redis-server
wait_for 60 runuser -u postgres -- pg_isready -q || fail "PostgreSQL does not start"
PASSWORD=$(input database_password) runuser -u postgres -- psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\getenv password PASSWORD
SELECT 'CREATE ROLE paperless LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'paperless') \gexec
ALTER ROLE paperless PASSWORD :'password';
SELECT 'CREATE DATABASE paperless OWNER paperless' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'paperless') \gexec
SQL

say "Setting up Paperless-ngx"
{
    env_line PAPERLESS_REDIS redis://localhost:6379
    env_line PAPERLESS_DBENGINE postgresql
    env_line PAPERLESS_DBHOST localhost
    env_line PAPERLESS_DBNAME paperless
    env_line PAPERLESS_DBUSER paperless
    env_line PAPERLESS_DBPASS "$(input database_password)"
    env_line PAPERLESS_SECRET_KEY "$(input secret_key)"
    env_line PAPERLESS_CONSUMPTION_DIR "$data/consume"
    env_line PAPERLESS_DATA_DIR "$data/data"
    env_line PAPERLESS_MEDIA_ROOT "$data/media"
    env_line PAPERLESS_STATICDIR "$code/static"
    env_line PAPERLESS_OCR_LANGUAGE "$INPUT_LANGUAGES"
    env_line PAPERLESS_TIME_ZONE "$INPUT_TIMEZONE"
    # Its language data would be an unchecked download.
    env_line PAPERLESS_ENABLE_NLTK false
    if [ -n "$DOMAIN" ]; then env_line PAPERLESS_URL "https://$DOMAIN"; fi
} | write_file /etc/paperless.env 600

# manage COMMAND...: Django's commands with the services' settings, as their user; the file is read as root.
manage() {
    systemd-run --quiet --wait --pipe --collect --uid paperless --gid paperless --property EnvironmentFile=/etc/paperless.env \
        --property WorkingDirectory="$code/src" "${extra[@]}" "$code/venv/bin/python3" manage.py "$@"
}
extra=()
manage migrate --no-input >/dev/null
env_line PAPERLESS_ADMIN_USER "$INPUT_ADMIN" | write_file /run/paperless-admin.env 600
env_line PAPERLESS_ADMIN_PASSWORD "$(input password)" >>/run/paperless-admin.env
extra=(--property EnvironmentFile=/run/paperless-admin.env)
say "Creating the administrator '$INPUT_ADMIN', if there is none"
manage manage_superuser >/dev/null
rm -f /run/paperless-admin.env

# unit NAME DESCRIPTION COMMAND [LINE]
unit() {
    write_file "/etc/systemd/system/paperless-$1.service" 644 <<UNIT
[Unit]
Description=Paperless-ngx $2
After=network-online.target postgresql.service redis-server.service
Wants=network-online.target
Requires=redis-server.service

[Service]
User=paperless
Group=paperless
WorkingDirectory=$code/src
EnvironmentFile=/etc/paperless.env
${4:-}
ExecStart=$code/venv/bin/$3
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
UNIT
}
unit webserver "web server" 'granian --interface asginl --ws paperless.asgi:application' 'Environment=GRANIAN_HOST=0.0.0.0 GRANIAN_PORT=8000 GRANIAN_WORKERS=1'
unit consumer "consumer" 'python3 manage.py document_consumer'
unit task-queue "task queue" 'celery --app paperless worker --loglevel INFO'
unit scheduler "scheduler" 'celery --app paperless beat --loglevel INFO --schedule /var/lib/paperless/data/celerybeat-schedule.db'
enable_unit paperless-webserver paperless-consumer paperless-task-queue paperless-scheduler
find /opt/paperless -mindepth 1 -maxdepth 1 -type d ! -name "$version" -exec rm -rf {} +
say "Paperless-ngx starts on port 8000"
