# shellcheck shell=bash
# The lab's machines, sourced by run.sh. A machine is a name with settings in associative arrays; its serial console goes,
# with time stamps, to $RUN/NAME.console. QEMU runs with -no-reboot: each power-on ends where the machine would reboot, and the
# harness decides what follows, as somebody at the power button would.

declare -A FIRMWARE MAC UUID SERIAL MEMORY

machine() { # name, firmware (uefi, uefi-http or bios), number
    FIRMWARE[$1]=$2
    MAC[$1]=$(printf '52:54:00:1a:b0:%02x' "$3")
    UUID[$1]=$(printf '1a0b1a0b-0000-4000-8000-%012d' "$3")
    SERIAL[$1]=$(printf 'LAB-DISK-%04d' "$3")
    MEMORY[$1]=${LAB_MEMORY:-768}
    truncate -s 9G "$RUN/$1.disk"
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$RUN/$1.vars"
    tap "tap-$1"
}

acceleration() {
    # KVM is used only when asked for: a node /dev/kvm is no proof that it works.
    if [ "${LAB_KVM:-no}" = yes ]; then echo "kvm -cpu host"; else echo "tcg,thread=multi -cpu max"; fi
}

# NIC first, then the disk, in every boot: what happens after the installation is the appliance's decision.
power_on() { # name
    local name=$1 netdev nic
    local -a arguments
    local nic_index=,bootindex=0 disk_index=,bootindex=1
    # After its first start a UEFI machine keeps its own boot order, as it was set in the firmware: one network entry, disk.
    if [[ ${FIRMWARE[$name]} == uefi* && -f $RUN/$name.console ]]; then
        local network="UEFI PXEv4"
        [ "${FIRMWARE[$name]}" = uefi ] || network="UEFI HTTPv4"
        mark "$name" "boot order $(python3 "$LAB/host/boot_order.py" "$RUN/$name.vars" "$network")"
        nic_index="" disk_index=""
    fi
    # shellcheck disable=SC2207
    arguments=(-name "$name" -machine "q35,graphics=off" -accel $(acceleration) -smp 1 -m "${MEMORY[$name]}"
        -display none -vga none -monitor none -serial stdio -no-reboot -nodefaults -no-user-config
        -uuid "${UUID[$name]}"
        -smbios "type=1,manufacturer=Ironhatch,product=Lab machine,serial=LAB-${name^^},uuid=${UUID[$name]}"
        -device virtio-rng-pci
        -drive "if=none,id=disk,file=$RUN/$name.disk,format=raw,discard=unmap,cache=unsafe"
        -device "virtio-blk-pci,drive=disk,serial=${SERIAL[$name]}$disk_index")
    netdev="tap,id=n0,ifname=tap-$name,script=no,downscript=no"
    nic="virtio-net-pci,netdev=n0,mac=${MAC[$name]}$nic_index"
    case ${FIRMWARE[$name]} in
    bios)
        rm -f "$RUN/$name.out" "$RUN/$name.in"
        background "$name.rom" ip netns exec "$RUN_ID-sw" python3 "$LAB/host/legacy_rom.py" "tap-$name" "$RUN/$name.out" "$RUN/$name.in"
        local try
        for try in $(seq 50); do [ -S "$RUN/$name.out" ] && break; sleep 0.1; done
        netdev="dgram,id=n0,local.type=unix,local.path=$RUN/$name.in,remote.type=unix,remote.path=$RUN/$name.out"
        ;;
    uefi*)
        # The empty romfile keeps QEMU's EFI option ROM away, which is iPXE: EDK2's own client must do the work.
        nic+=",romfile="
        arguments+=(-drive "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
            -drive "if=pflash,format=raw,unit=1,file=$RUN/$name.vars"
            -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=no)
        [ "${FIRMWARE[$name]}" = uefi ] || arguments+=(-fw_cfg "name=opt/org.tianocore/IPv4PXESupport,string=no")
        ;;
    esac
    arguments+=(-netdev "$netdev" -device "$nic")
    mark "$name" "power on"
    background "$name" bash -c 'log=$1 epoch=$2 stamp=$3; shift 3; "$@" 2>&1 </dev/null | python3 "$stamp" "$log" "$epoch"' machine \
        "$RUN/$name.console" "$EPOCH" "$LAB/host/stamp.py" ip netns exec "$RUN_ID-sw" qemu-system-x86_64 "${arguments[@]}"
}

power_off() { # name
    local id
    if id=$(process_of "$1"); then end_session "$id"; fi
    if id=$(process_of "$1.rom"); then end_session "$id"; fi
    mark "$1" "power off"
}

# Waits for a text on the console after the last power-on; fails when the machine stops or time is up.
console_shows() { # name, pattern, seconds
    local name=$1 until=$((SECONDS + $3))
    while [ "$SECONDS" -lt "$until" ]; do
        if shows_since_power_on "$name" "$2"; then return 0; fi
        if ! is_running "$name"; then shows_since_power_on "$name" "$2"; return; fi
        sleep 0.3
    done
    return 1
}

since_power_on() { # name
    [ -f "$RUN/$1.console" ] || return 0
    tac "$RUN/$1.console" | sed '/ == power on$/q' | tac
}

stopped_by_itself() { # name, seconds
    local until=$((SECONDS + $2))
    while is_running "$1"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.3
    done
}

# Without -q: a grep that leaves early would end the others by SIGPIPE, and pipefail would call that a failure.
shows_since_power_on() { since_power_on "$1" | grep -E "$2" >/dev/null; } # name, pattern

# One line of our own into a machine's log.
mark() { # name, text
    printf '%8.1f == %s\n' "$(elapsed)" "$2" >>"$RUN/$1.console"
}

elapsed() { awk -v epoch="$EPOCH" -v now="$(date +%s.%N)" 'BEGIN { printf "%.1f", now - epoch }'; }
