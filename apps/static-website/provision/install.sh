#!/bin/bash
# Installs the chosen web server with /srv/www as its document root.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

root=/srv/www

say "Preparing the document root $root"
mkdir -p "$root"
if [ ! -e "$root/index.html" ]; then
    title=$(html "$INPUT_TITLE")
    text=$(html "${INPUT_TEXT:-}")
    write_file "$root/index.html" 644 <<PAGE
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>body { font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem; color: #222 }</style>
</head>
<body>
<h1>$title</h1>
<p>$text</p>
</body>
</html>
PAGE
else
    say "Keeping the index.html that is there"
fi

case "$INPUT_SERVER" in
    nginx)
        apt_install nginx-light
        if [ "$INPUT_SPA" = true ]; then missing=/index.html; else missing="=404"; fi
        write_file /etc/nginx/sites-available/website 644 <<CONF
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name ${SERVER_NAME:-_};
    server_tokens off;
    root $root;
    index index.html;

    location / {
        try_files \$uri \$uri/ $missing;
    }
    # Neither repositories nor editors' leftovers.
    location ~ /\\. {
        deny all;
    }
}
CONF
        ln -sfn ../sites-available/website /etc/nginx/sites-enabled/website
        rm -f /etc/nginx/sites-enabled/default
        say "Checking the configuration"
        nginx -t -q
        enable_unit nginx
        ;;
    apache)
        apt_install apache2
        if [ "$INPUT_SPA" = true ]; then missing="FallbackResource /index.html"; else missing=""; fi
        write_file /etc/apache2/sites-available/website.conf 644 <<CONF
<VirtualHost *:80>
    ServerName ${SERVER_NAME:-$GUEST_NAME}
    DocumentRoot $root
    ServerSignature Off
    <Directory $root>
        Options FollowSymLinks
        AllowOverride All
        Require all granted
        $missing
    </Directory>
    <DirectoryMatch "/\\.">
        Require all denied
    </DirectoryMatch>
</VirtualHost>
CONF
        a2dissite -q 000-default >/dev/null
        a2ensite -q website >/dev/null
        say "Checking the configuration"
        apache2ctl -t 2>/dev/null
        enable_unit apache2
        ;;
    *) fail "unknown web server '$INPUT_SERVER'" ;;
esac

say "Serving $root on port 80"
