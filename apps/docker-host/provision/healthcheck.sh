#!/bin/bash
# Healthy: the daemon answers and its bridge has an address.
set -euo pipefail

docker info --format '{{.ServerVersion}}' >/dev/null
docker network inspect bridge --format '{{(index .IPAM.Config 0).Subnet}}' | grep -q /
