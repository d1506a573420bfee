#!/bin/bash
# Brings PostgreSQL 15 to Debian's newest minor version; the files on disk stay compatible.
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

apt_upgrade postgresql-15 postgresql-client-15 libpq5
wait_for 60 runuser -u postgres -- pg_isready -q || fail "PostgreSQL does not start; see /var/log/postgresql"
