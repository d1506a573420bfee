#!/bin/bash
# Healthy: the server answers, and asks for a password.
set -euo pipefail

mongosh --quiet --norc --host 127.0.0.1 --eval '
    if (!db.hello().ok) quit(1);
    try { db.adminCommand({ listDatabases: 1 }).ok; } catch (error) { quit(error.codeName === "Unauthorized" ? 0 : 1); }
    quit(1);'
