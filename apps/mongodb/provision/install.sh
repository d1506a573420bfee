#!/bin/bash
# Installs MongoDB with authentication and creates its administrator.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

grep -qw avx /proc/cpuinfo || fail "MongoDB 8.0 needs a processor with AVX; this node's does not offer it"

apt_repository mongodb https://pgp.mongodb.com/server-8.0.asc 4B0752C1BCA238C0B4EE14DC41DE058A4E7DCA05 \
    "https://repo.mongodb.org/apt/debian bookworm/mongodb-org/8.0 main" 'mongodb-org*' mongodb-mongosh mongodb-database-tools
apt_install mongodb-org-server=8.0.23 mongodb-mongosh mongodb-database-tools

say "Setting up MongoDB"
install -d -o mongodb -g mongodb -m 750 /var/lib/mongodb
write_file /etc/mongod.conf 644 <<CONF
# Written by the installation.
storage:
  dbPath: /var/lib/mongodb
  wiredTiger:
    engineConfig:
      cacheSizeGB: $(awk -v m="$INPUT_CACHE_MB" 'BEGIN { printf "%.3f", m / 1024 }')
systemLog:
  destination: file
  logAppend: true
  path: /var/log/mongodb/mongod.log
net:
  port: 27017
  bindIp: 0.0.0.0
security:
  authorization: enabled
CONF
enable_unit mongod
ask() { mongosh --quiet --norc --host 127.0.0.1 "$@"; }
wait_for 60 ask --eval 'quit(db.hello().ok ? 0 : 1)' || fail "MongoDB does not answer; see /var/log/mongodb/mongod.log"

say "Creating the administrator '$INPUT_ADMIN'"
# Until the first user exists, connections from the container itself may create one. The password is in mongosh's
# environment, not on its command line.
ADMIN=$INPUT_ADMIN PASSWORD=$(input password) ask --eval '
    const admin = db.getSiblingDB("admin");
    const { ADMIN, PASSWORD } = process.env;
    try {
        admin.createUser({ user: ADMIN, pwd: PASSWORD, roles: ["root"] });
    } catch (error) {
        // There is one from an earlier run: then it must be ours.
        admin.auth(ADMIN, PASSWORD);
    }' >/dev/null
say "MongoDB is ready on port 27017"
