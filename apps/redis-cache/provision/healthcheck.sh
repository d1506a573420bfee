#!/bin/bash
# Healthy: Redis answers whoever knows the password, and nobody else.
set -euo pipefail

REDISCLI_AUTH=$(sed -n 's/^requirepass "\(.*\)"$/\1/p' /etc/redis/ironhatch.conf | sed 's/\\\(.\)/\1/g')
export REDISCLI_AUTH
[ "$(redis-cli ping)" = PONG ] || { echo "no answer" >&2; exit 1; }
unset REDISCLI_AUTH
case "$(redis-cli ping 2>&1)" in
    NOAUTH*) ;;
    *) echo "answers without a password" >&2; exit 1 ;;
esac
