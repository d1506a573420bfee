#!/bin/bash
# Installs the chosen runtime, a sample application and nginx in front of it.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

app=/srv/app
public=$app/public
samples=$APPSTORE/samples
# Only nginx talks to the application.
port=8000

# sample FILE MODE: puts a sample there unless the operator's own file is.
sample() {
    if [ ! -e "$2" ]; then
        install -D -o app -g app -m 644 "$samples/$1" "$2"
    else
        say "Keeping $2"
    fi
}

# service COMMAND: the application as a systemd service; what it may write is below /srv/app.
service() {
    write_file /etc/systemd/system/web-app.service 644 <<UNIT
[Unit]
Description=Web application
After=network-online.target
Wants=network-online.target

[Service]
User=app
Group=app
WorkingDirectory=$app
Environment=HOST=127.0.0.1 PORT=$port
EnvironmentFile=-/etc/web-app.env
ExecStart=$1
Restart=on-failure
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=$app
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
    enable_unit web-app
}

say "Preparing $app"
system_user app "$app"
install -d -o app -g app -m 755 "$app"

proxy="proxy_pass http://127.0.0.1:$port;
        proxy_http_version 1.1;
        proxy_set_header Host \$host;
        proxy_set_header X-Real-IP \$remote_addr;
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto \$http_x_forwarded_proto;
        proxy_set_header Upgrade \$http_upgrade;
        proxy_set_header Connection \$upgrade;"
ask="proxy_pass http://127.0.0.1:$port$INPUT_HEALTH_PATH;
        proxy_set_header Host \$host;"
unit=web-app
folder=$app

case "$INPUT_RUNTIME" in
    static)
        sample static/index.html "$public/index.html"
        sample static/health "$public/health"
        locations="location / { try_files \$uri \$uri/ =404; }"
        ask="rewrite ^ $INPUT_HEALTH_PATH break;"
        unit=nginx
        folder=$public
        ;;
    php)
        apt_install php8.2-fpm php8.2-cli php8.2-curl php8.2-mbstring php8.2-mysql php8.2-pgsql php8.2-sqlite3 php8.2-xml php8.2-zip
        sample php/index.php "$public/index.php"
        write_file /etc/php/8.2/fpm/pool.d/app.conf 644 <<CONF
[app]
user = app
group = app
listen = /run/php/app.sock
listen.owner = www-data
listen.group = www-data
pm = dynamic
pm.max_children = 10
pm.start_servers = 2
pm.min_spare_servers = 1
pm.max_spare_servers = 4
php_admin_value[upload_max_filesize] = ${INPUT_UPLOAD_MB}M
php_admin_value[post_max_size] = ${INPUT_UPLOAD_MB}M
CONF
        # The default pool would run beside it for nothing.
        rm -f /etc/php/8.2/fpm/pool.d/www.conf
        say "Starting PHP"
        enable_unit php8.2-fpm
        fastcgi="include fastcgi_params;
        fastcgi_pass unix:/run/php/app.sock;"
        locations="location / { try_files \$uri \$uri/ /index.php\$is_args\$args; }
    location ~ \\.php\$ {
        try_files \$uri =404;
        $fastcgi
        fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
    }"
        # The front controller sees the path that the operator named.
        ask="$fastcgi
        fastcgi_param SCRIPT_FILENAME \$document_root/index.php;
        fastcgi_param REQUEST_URI $INPUT_HEALTH_PATH;"
        unit=php8.2-fpm
        folder=$public
        ;;
    python)
        apt_install python3 python3-venv gunicorn python3-uvicorn
        sample "python/app_$INPUT_INTERFACE.py" "$app/app.py"
        worker=""
        if [ "$INPUT_INTERFACE" = asgi ]; then worker="--worker-class uvicorn.workers.UvicornWorker "; fi
        # Packages of the application go into a virtual environment that sees Debian's as well.
        if [ ! -d "$app/venv" ]; then
            runuser -u app -- python3 -m venv --system-site-packages "$app/venv"
        fi
        if [ -f "$app/requirements.txt" ]; then
            say "Installing requirements.txt"
            runuser -u app -- "$app/venv/bin/pip" install --quiet --disable-pip-version-check -r "$app/requirements.txt"
        fi
        service "$app/venv/bin/python -m gunicorn --bind 127.0.0.1:$port --workers 2 --access-logfile - $worker$INPUT_ENTRY"
        locations="location / {
        $proxy
    }"
        ;;
    nodejs)
        apt_install nodejs
        sample nodejs/server.js "$app/$INPUT_SCRIPT"
        service "/usr/bin/node $app/$INPUT_SCRIPT"
        locations="location / {
        $proxy
    }"
        ;;
    *) fail "unknown runtime '$INPUT_RUNTIME'" ;;
esac

root=$public
[ -d "$root" ] || root=/var/empty/web-app
mkdir -p "$root"
write_file /etc/nginx/sites-available/web-app 644 <<CONF
map \$http_upgrade \$upgrade {
    default upgrade;
    "" close;
}
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name ${SERVER_NAME:-_};
    server_tokens off;
    client_max_body_size ${INPUT_UPLOAD_MB}m;
    root $root;
    index index.html index.php;

    location = /healthz {
        access_log off;
        $ask
    }
    $locations
    location ~ /\\.(?!well-known/) {
        deny all;
    }
}
CONF
ln -sfn ../sites-available/web-app /etc/nginx/sites-enabled/web-app
rm -f /etc/nginx/sites-enabled/default
say "Checking nginx's configuration"
nginx -t -q
enable_unit nginx

fact folder "$folder"
fact unit "$unit"
if [ "$unit" = web-app ]; then
    say "Waiting for the application"
    wait_for 30 curl -fsS -o /dev/null "http://127.0.0.1:$port$INPUT_HEALTH_PATH" || {
        journalctl --no-pager --unit web-app --lines 20 >&2
        fail "the application does not answer on $INPUT_HEALTH_PATH"
    }
fi
say "The application answers on port 80"
