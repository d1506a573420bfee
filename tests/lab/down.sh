#!/bin/bash
# Takes lab runs down that were left behind (an aborted one, or one started with --keep): ends the processes that they
# recorded, removes their namespaces. Usage: down.sh [RUN_DIRECTORY...]; without arguments all runs of this checkout.
set -euo pipefail

lab=$(cd "$(dirname "$0")" && pwd)
top=${IRONHATCH_LAB_DIR:-$lab/../../target/lab}
# shellcheck source=tests/lab/processes.sh
. "$lab/processes.sh"

if [ $# -eq 0 ]; then set -- "$top"/runs/*; fi
for RUN in "$@"; do
    [ -f "$RUN/id" ] || continue
    id=$(cat "$RUN/id")
    end_all
    for name in sw rt ap m; do
        if [ -e "/run/netns/$id-$name" ]; then ip netns del "$id-$name"; fi
    done
    rm -f "$RUN"/*.disk
    rm -rf "$RUN/member-root"
    echo "lab: $id is down"
    rm -f "$RUN/id"
done
