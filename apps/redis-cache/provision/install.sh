#!/bin/bash
# Sets Redis's password, limits and persistence.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

conf=/etc/redis
password=$(input password)
# Redis's configuration has its own quoting.
quoted=$(printf '%s' "$password" | sed 's/[\\"]/\\&/g')

say "Setting up Redis"
if [ "$INPUT_PERSISTENT" = true ]; then append=yes; save='3600 1 300 100'; else append=no; save='""'; fi
write_file "$conf/ironhatch.conf" 640 root:redis <<CONF
# Written by the installation, read after redis.conf.
bind * -::*
requirepass "$quoted"
maxmemory ${INPUT_MEMORY_MB}mb
maxmemory-policy $INPUT_EVICTION
appendonly $append
save $save
CONF
grep -qx "include $conf/ironhatch.conf" "$conf/redis.conf" || printf '\ninclude %s/ironhatch.conf\n' "$conf" >>"$conf/redis.conf"

enable_unit redis-server
say "Waiting for Redis"
REDISCLI_AUTH=$password wait_for 30 redis-cli ping || fail "Redis does not answer; see /var/log/redis"
say "Redis is ready on port 6379"
