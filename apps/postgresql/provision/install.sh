#!/bin/bash
# Creates the database and its owner, and sets who may connect.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

conf=/etc/postgresql/15/main
[ "$INPUT_OWNER" != postgres ] || fail "the owner cannot be postgres, the superuser"

say "Setting up PostgreSQL"
write_file "$conf/conf.d/ironhatch.conf" 644 postgres:postgres <<CONF
# Written by the installation.
listen_addresses = '$INPUT_LISTEN'
max_connections = $INPUT_CONNECTIONS
shared_buffers = ${INPUT_SHARED_MB}MB
password_encryption = scram-sha-256
CONF

# Between the marks is ours; the operator's own lines stay.
hba=$conf/pg_hba.conf
sed -i '/^# ironhatch begin/,/^# ironhatch end/d' "$hba"
cat >>"$hba" <<CONF
# ironhatch begin
host $INPUT_DATABASE $INPUT_OWNER $INPUT_NETWORK scram-sha-256
# ironhatch end
CONF
enable_unit postgresql@15-main postgresql
say "Waiting for PostgreSQL"
wait_for 60 runuser -u postgres -- pg_isready -q || fail "PostgreSQL does not start; see /var/log/postgresql"

say "Creating the database '$INPUT_DATABASE' of '$INPUT_OWNER'"
# The password reaches psql in its environment, not on a command line, and the server logs no statement of this session.
PASSWORD=$(input password) runuser -u postgres -- psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 \
    --set owner="$INPUT_OWNER" --set database="$INPUT_DATABASE" <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\getenv password PASSWORD
SELECT format('CREATE ROLE %I LOGIN', :'owner') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
ALTER ROLE :"owner" PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL

say "PostgreSQL is ready on port 5432 for $INPUT_NETWORK"
