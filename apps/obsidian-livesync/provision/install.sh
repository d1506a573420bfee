#!/bin/bash
# Installs CouchDB on the loopback address with nginx in front of it, set up as the plugin wants it.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

version=3.5.1
conf=/opt/couchdb/etc/local.d

apt_repository couchdb https://couchdb.apache.org/repo/keys.asc 390EF70BB1EA12B2773962950EE62FB37A00258D \
    "https://apache.jfrog.io/artifactory/couchdb-deb/ bookworm main" couchdb
apt_install nginx-light curl debconf

password=$(input password)
if ! dpkg-query -W -f '${db:Status-Status}' couchdb 2>/dev/null | grep -qx installed; then
    # Through standard input: neither the cookie nor the password stands on a command line.
    {
        printf 'couchdb couchdb/mode select standalone\n'
        printf 'couchdb couchdb/bindaddress string 127.0.0.1\n'
        printf 'couchdb couchdb/cookie string %s\n' "$(head -c 24 /dev/urandom | base64 | tr -dc A-Za-z0-9)"
        printf 'couchdb couchdb/adminpass password %s\n' "$password"
        printf 'couchdb couchdb/adminpass_again password %s\n' "$password"
    } | debconf-set-selections
fi
apt_install "couchdb=$version~bookworm"

say "Setting up CouchDB"
install -d -o couchdb -g couchdb -m 750 /var/lib/couchdb
bytes=$((INPUT_LARGEST_MB * 1000000))
write_file "$conf/20-livesync.ini" 640 couchdb:couchdb <<CONF
; Written by the installation; the settings that the plugin's own set-up makes.
[couchdb]
single_node = true
max_document_size = $bytes

[chttpd]
bind_address = 127.0.0.1
port = 5984
require_valid_user = true
require_valid_user_except_for_up = true
enable_cors = true
max_http_request_size = 4294967296

[chttpd_auth]
require_valid_user = true

[cors]
origins = app://obsidian.md,capacitor://localhost,http://localhost
credentials = true
headers = accept, authorization, content-type, origin, referer
methods = GET, PUT, POST, HEAD, DELETE
max_age = 3600
CONF
# CouchDB replaces the password by its hash when it starts.
write_file "$conf/90-admins.ini" 640 couchdb:couchdb <<CONF
[admins]
$INPUT_USER = $password
CONF
enable_unit couchdb
wait_for 60 curl -fsS -o /dev/null http://127.0.0.1:5984/_up || fail "CouchDB does not answer; see journalctl -u couchdb"

say "Creating the database '$INPUT_DATABASE'"
# curl reads the login from standard input.
quoted=$(printf '%s' "$password" | sed 's/[\\"]/\\&/g')
for database in _users _replicator "$INPUT_DATABASE"; do
    status=$(printf 'user = "%s:%s"\n' "$INPUT_USER" "$quoted" \
        | curl --silent --config - --request PUT --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:5984/$database")
    case "$status" in
        201 | 202 | 412) ;; # 412: it is there
        *) fail "CouchDB answers with status $status when the database $database is created" ;;
    esac
done

say "Setting up nginx"
write_file /etc/nginx/sites-available/livesync 644 <<CONF
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name ${DOMAIN:-_};
    server_tokens off;
    client_max_body_size $((INPUT_LARGEST_MB + 8))m;

    location / {
        proxy_pass http://127.0.0.1:5984;
        proxy_redirect off;
        proxy_buffering off;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host \$host;
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
        # The plugin keeps a request open to hear of changes.
        proxy_read_timeout 1h;
    }
}
CONF
ln -sfn ../sites-available/livesync /etc/nginx/sites-enabled/livesync
rm -f /etc/nginx/sites-enabled/default
nginx -t -q
enable_unit nginx
if [ -n "$DOMAIN" ]; then fact uri "https://$DOMAIN"; else fact uri "http://$GUEST_IP"; fi
say "LiveSync's server is ready"
