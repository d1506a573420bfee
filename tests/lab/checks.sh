# shellcheck shell=bash
# Following the machines, and what must be true at the end; sourced by run.sh.

# Power-on to ready. A machine's QEMU ends when the installer reboots; the next power-on has the NIC first again, and must
# end up on its disk because the appliance stays silent to it.
follow_machines() {
    local until=$((SECONDS + TIMEOUT)) name open
    while :; do
        open=0
        for name in "${NODES[@]}"; do
            follow "$name"
            case ${STAGE[$name]} in ready | failed) ;; *) open=$((open + 1)) ;; esac
        done
        [ "$open" -gt 0 ] || return 0
        if [ "$SECONDS" -ge "$until" ]; then
            for name in "${NODES[@]}"; do
                case ${STAGE[$name]} in ready) ;; *) give_up "$name" "time is up while ${STAGE[$name]}" ;; esac
            done
            return 0
        fi
        sleep 0.5
    done
}

give_up() { # name, reason
    STAGE[$1]=failed
    mark "$1" "failed: $2"
    say "$1 failed: $2"
    since_power_on "$1" | tail -5 | sed 's/^/        | /'
}

follow() { # name
    local name=$1 state
    state=$(appliance_state "$name" 2>/dev/null || true)
    if [ -n "$state" ] && [ "$state" != "$(cat "$RUN/$name.state" 2>/dev/null)" ]; then
        echo "$state" >"$RUN/$name.state"
        mark "$name" "state $state"
        say "$name is $state"
    fi
    case ${STAGE[$name]} in
    installing)
        if shows_since_power_on "$name" 'installer: aborted'; then
            give_up "$name" "the installer aborted"
        elif ! is_running "$name"; then
            if shows_since_power_on "$name" 'installer: done'; then
                power_off "$name"
                STAGE[$name]=booting
                power_on "$name"
                say "$name rebooted, NIC first in its boot order"
            else
                give_up "$name" "the machine stopped before it was installed"
            fi
        fi
        ;;
    booting)
        if [ "$state" = ready ]; then
            STAGE[$name]=ready
        elif [ "$state" = failed ]; then
            give_up "$name" "the appliance says failed"
        elif ! is_running "$name"; then
            give_up "$name" "the machine stopped"
        fi
        ;;
    esac
}

# The unregistered machine shows up while the others are done: it must be seen, left alone, and keep its empty disk.
meet_the_stranger() {
    local until=$((SECONDS + STRANGER_DEADLINE))
    power_on stranger
    while [ "$SECONDS" -lt "$until" ]; do
        appliance_sightings | grep -i "${MAC[stranger]}" >/dev/null && break
        sleep 0.5
    done
    say "the stranger is a sighting: $(appliance_sightings | grep -i "${MAC[stranger]}" || echo no)"
    # Let it go on to whatever it was told, so that its disk would be touched if it was told to install.
    console_shows stranger 'No bootable device|No more network devices|Nothing to boot|installer:' 60 || true
    power_off stranger
}

check() { # name, command...
    local name=$1
    shift
    if "$@" >"$RUN/check.out" 2>&1; then
        PASSED=$((PASSED + 1))
        echo "pass  $name"
    else
        FAILED=$((FAILED + 1))
        echo "FAIL  $name"
        tail -3 "$RUN/check.out" | sed 's/^/      | /'
    fi
}

shows() { # name, pattern: anywhere on its console
    grep -qE "$2" "$RUN/$1.console"
}

booted_from_disk() { shows_since_power_on "$1" 'node: .* up at .* root is /dev/vda3'; }

# Between the second power-on and the node being up, the appliance must not have handed out anything to this MAC: no
# answer to its DHCP broadcast other than the router's, no TFTP, no HTTP from its address other than the callbacks.
stayed_silent() { # name
    local from until
    from=$(awk '/ == power on$/ { at = $1 } END { print at }' "$RUN/$1.console")
    until=$(since_power_on "$1" | awk '/node: .* up at/ { print $1; exit }')
    python3 "$LAB/host/silence.py" "$RUN/lan.pcap" "$EPOCH" "$from" "${until:-$(elapsed)}" "${MAC[$1]}" "$APPLIANCE"
}

# One answer, one report: the installer asks once, so a second request would be somebody else's.
asked_once() { [ "$(grep -c 'installer: asking' "$RUN/$1.console")" -eq 1 ]; }

# Answer, first-boot executable and report: each was asked for over a connection of its own, with the certificate as pinned.
pinned_each_time() { # name
    [ "$(grep -c 'installer: TLS.* with .*, its certificate is pinned' "$RUN/$1.console")" -eq 3 ]
}

# What the appliance's machine interface is asked in plain HTTP, call-backs of the installed system included.
asked_in_plain_http() { grep -aoE '(GET|POST) /api/(boot|hosts)/' "$RUN/lan.pcap"; }

travelled_as_configured() {
    # Boot scripts are plain in any case: proof that the capture shows what is plain.
    grep -aqF 'GET /ipxe/' "$RUN/lan.pcap" || return 1
    case $TLS in
    auto) ! asked_in_plain_http ;;
    off) [ "$(asked_in_plain_http | wc -l)" -ge $((4 * ${#NODES[@]})) ] ;;
    esac
}

disk_is_empty() { # name: no byte was ever written to the sparse file
    [ "$(du -k "$RUN/$1.disk" | cut -f1)" -eq 0 ]
}

member_sees() { # node name
    member_run pvecm nodes | grep -w "$1"
}

member_run() {
    ip netns exec "$RUN_ID-m" nsenter --target "$(member_init)" --mount --uts --pid --root --wd -- "$@"
}

# First process inside the member's process namespace.
member_init() {
    local unshare
    unshare=$(process_of member)
    cat "/proc/$unshare/task/$unshare/children" | awk '{ print $1 }'
}

member_has_no_ephemeral_key() {
    local keys
    keys=$(member_run cat /etc/pve/priv/authorized_keys)
    echo "$keys"
    # The appliance's lasting key is there: proof that the right file was read. Besides it only the nodes' own keys may be left.
    grep -F "$(appliance_public_keys)" <<<"$keys" >/dev/null || return 1
    keys=$(grep -v '^$' <<<"$keys" | grep -vF "$(appliance_public_keys)" | grep -vE ' root@pve-[a-z]+$' || true)
    [ -z "$keys" ]
}

run_checks() {
    local name
    echo
    for name in "${NODES[@]}"; do
        check "$name: the kernel mounted the ISO view" shows "$name" 'installer: .* mounted by the kernel'
        check "$name: the answer was valid in the dialect of ${RELEASE[$name]}" shows "$name" 'installer: answer is valid'
        check "$name: asked for its answer exactly once" asked_once "$name"
        check "$name: the report was accepted" shows "$name" 'installer: report accepted'
        [ "$TLS" = off ] || check "$name: the installer saw the pinned certificate each time" pinned_each_time "$name"
        check "$name: booted from its own disk" booted_from_disk "$name"
        check "$name: fetched nothing on the way to its disk" stayed_silent "$name"
        check "$name: the first-boot executable succeeded" shows "$name" 'node: first-boot executable ended with 0'
        check "$name: is ready" test "${STAGE[$name]}" = ready
        check "$name: is a member for the cluster" member_sees "$name"
    done
    check "no ephemeral key is left in the cluster" member_has_no_ephemeral_key
    check "answers, reports and call-backs crossed the LAN as configured: TLS $TLS" travelled_as_configured
    check "the stranger is a sighting" bash -c "grep -qi '${MAC[stranger]}' <<<\"\$1\"" _ "$(appliance_sightings)"
    check "the stranger's disk is untouched" disk_is_empty stranger
    check "the appliance is still running" is_running appliance
    appliance_checks
}

# Seconds since each machine's first power-on.
print_timeline() {
    local name
    echo
    printf '%-34s' 'seconds since power-on'
    for name in "${NODES[@]}"; do printf '%12s' "$name"; done
    printf '\n'
    timeline_row "initrd up" 'installer: initrd is up'
    timeline_row "ISO mounted" 'installer: .* mounted by the kernel'
    timeline_row "answer received" 'installer: answer received'
    timeline_row "system written" 'installer: system written'
    timeline_row "report accepted" 'installer: report accepted'
    timeline_row "second power-on" '== power off'
    timeline_row "booted from disk" 'node: .* up at'
    timeline_row "first-boot done" 'node: first-boot executable ended with 0'
    timeline_row "ready" '== state ready'
    echo
}

timeline_row() { # label, pattern
    local name
    printf '%-34s' "$1"
    for name in "${NODES[@]}"; do
        awk -v pattern="$2" '/ == power on$/ && !start { start = $1 } $0 ~ pattern && !at { at = $1 }
            END { if (at) printf "%12.1f", at - start; else printf "%12s", "-" }' "$RUN/$name.console"
    done
    printf '\n'
}
