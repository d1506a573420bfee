#!/bin/bash
# The virtual bare-metal lab: a LAN with its own DHCP server, the appliance, a cluster of one, and machines with empty disks that
# are to become its nodes. Needs root. See README.md beside this file.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: run.sh [--machines LIST] [--iso RELEASES] [--tls auto|off] [--keep] [--timeout SECONDS]
  --machines uefi,bios   which firmware kinds become nodes (default both at once); uefi-http is the third kind
  --iso 9.2,8.3          ISO release for each of them, in order; the last one is used for the rest
  --tls auto             how answers, reports and call-backs travel: HTTPS, as `ironhatch setup` proposes, or off: plain HTTP
  --keep                 leave everything running at the end, with the dashboard on this machine's loopback
  --timeout 840          seconds until a machine that is not ready counts as failed
environment: IRONHATCH_BIN (the daemon), LAB_KVM=yes (use KVM), LAB_MEMORY (MiB per machine), IRONHATCH_LAB_DIR
TEXT
}

MACHINES=uefi,bios
RELEASES=9.2,8.3
TLS=auto
KEEP=no
TIMEOUT=840
while [ $# -gt 0 ]; do
    case $1 in
    --machines) MACHINES=$2; shift ;;
    --iso) RELEASES=$2; shift ;;
    --tls) TLS=$2; shift ;;
    --keep) KEEP=yes ;;
    --timeout) TIMEOUT=$2; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
    esac
    shift
done
case $TLS in auto | off) ;; *) usage >&2; exit 64 ;; esac

LAB=$(cd "$(dirname "$0")" && pwd)
REPOSITORY=$(cd "$LAB/../.." && pwd)
TOP=$(realpath -m "${IRONHATCH_LAB_DIR:-$REPOSITORY/target/lab}")
IRONHATCH_BIN=${IRONHATCH_BIN:-$REPOSITORY/target/x86_64-unknown-linux-gnu/debug/ironhatch}
[ "$(id -u)" -eq 0 ] || { echo "lab: needs root, for network namespaces and the machines' root trees" >&2; exit 1; }

RUN_ID=ih$(od -An -N2 -tx1 /dev/urandom | tr -d ' \n')
RUN=$TOP/runs/$(date +%Y%m%d-%H%M%S)-$RUN_ID
EPOCH=$(date +%s.%N)
PASSED=0
FAILED=0
mkdir -p "$RUN"
echo "$RUN_ID" >"$RUN/id"
ln -sfn "$RUN" "$TOP/latest"

# shellcheck source=tests/lab/processes.sh
. "$LAB/processes.sh"
# shellcheck source=tests/lab/net.sh
. "$LAB/net.sh"
# shellcheck source=tests/lab/member.sh
. "$LAB/member.sh"
# shellcheck source=tests/lab/machine.sh
. "$LAB/machine.sh"
# shellcheck source=tests/lab/build.sh
. "$LAB/build.sh"
# shellcheck source=tests/lab/checks.sh
. "$LAB/checks.sh"
# shellcheck source=tests/lab/appliance.sh
. "${LAB_APPLIANCE:-$LAB/appliance.sh}"

say() { printf 'lab %7.1f  %s\n' "$(elapsed)" "$*"; }

die() {
    say "$*"
    exit 1
}

wait_for() { # seconds, what, command...
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$until" ] || die "$what did not come up; see $RUN"
        sleep 0.2
    done
}

finish() {
    local code=$?
    trap - EXIT INT TERM
    "$LAB/down.sh" "$RUN" >/dev/null 2>&1 || true
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

build_all
EPOCH=$(date +%s.%N)
say "run $RUN_ID, TLS $TLS, logs in $RUN"

net_up
capture_up
router_up
appliance_prepare
member_up "$(appliance_public_keys)"
appliance_start
say "router, cluster member $MEMBER_NAME and appliance are up"

# Machines that are to become nodes, and one that nobody has registered.
NODES=()
declare -A RELEASE
IFS=, read -ra kinds <<<"$MACHINES"
IFS=, read -ra releases <<<"$RELEASES"
number=0
for kind in "${kinds[@]}"; do
    number=$((number + 1))
    name=pve-$(printf "\\$(printf '%03o' $((96 + number)))")
    NODES+=("$name")
    RELEASE[$name]=${releases[$((number - 1))]:-${releases[-1]}}
    machine "$name" "$kind" "$number"
done
machine stranger bios 99

for release in $(printf '%s\n' "${RELEASE[@]}" | sort -u); do appliance_import "$(iso_path "$release")" "$release"; done
for name in "${NODES[@]}"; do
    appliance_register "$name" "${MAC[$name]}" "${SERIAL[$name]}" "${RELEASE[$name]}"
    appliance_rebuild "$name"
    say "$name is armed: ${FIRMWARE[$name]}, ${MAC[$name]}, ISO ${RELEASE[$name]}"
done

for name in "${NODES[@]}"; do power_on "$name"; done

declare -A STAGE
for name in "${NODES[@]}"; do STAGE[$name]=installing; done
follow_machines
STRANGER_DEADLINE=120
meet_the_stranger
run_checks
print_timeline

if [ "$KEEP" = yes ]; then
    background dashboard python3 "$LAB/host/forward.py" "${LAB_DASHBOARD_PORT:-0}" "$RUN_ID-ap" "$APPLIANCE" 8080
    wait_for 10 "the forwarder" test -s "$RUN/dashboard.log"
    say "the lab keeps running: dashboard at http://127.0.0.1:$(head -1 "$RUN/dashboard.log")/ , end it with $LAB/down.sh"
    appliance_sign_in_hint
    trap - EXIT
fi

echo "lab: $PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ]
