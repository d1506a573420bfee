#!/bin/bash
# Healthy: the server takes connections and the database is there.
set -euo pipefail

runuser -u postgres -- pg_isready --quiet
found=$(runuser -u postgres -- psql --quiet --no-psqlrc --tuples-only --no-align \
    --set database="$INPUT_DATABASE" <<<"SELECT 1 FROM pg_database WHERE datname = :'database'")
[ "$found" = 1 ] || { echo "the database $INPUT_DATABASE is not there" >&2; exit 1; }
