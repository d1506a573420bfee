# shellcheck shell=bash
# The lab's network, sourced by run.sh. Needs RUN_ID and RUN (the run's directory).
#
#   namespace   $RUN_ID-sw   switch: bridge br0, the machines' taps, QEMU
#               $RUN_ID-rt   router: a plain DHCP server (no next-server, no file name, no PXE options)
#               $RUN_ID-ap   appliance: Ironhatch
#               $RUN_ID-m    the cluster's first member
# No route leads out. IPv6 is off.

SUBNET=192.0.2
ROUTER=$SUBNET.1
MEMBER=$SUBNET.5
APPLIANCE=$SUBNET.10
APPLIANCE_NIC=eth0

in_ns() { # short name, command...
    local ns=$RUN_ID-$1
    shift
    ip netns exec "$ns" "$@"
}

net_up() {
    local name
    for name in sw rt ap m; do
        ip netns add "$RUN_ID-$name"
        in_ns "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
        in_ns "$name" ip link set lo up
    done
    # Frames between QEMU and legacy_rom.py are unix datagrams; 10 of them is the default queue.
    in_ns sw sysctl -qw net.unix.max_dgram_qlen=512
    in_ns sw ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    in_ns sw ip link set br0 up
    attach rt "$ROUTER" 02:00:00:00:00:01
    attach ap "$APPLIANCE" 02:00:00:00:00:10
    attach m "$MEMBER" 02:00:00:00:00:05
    in_ns ap ip route add default via "$ROUTER"
}

attach() { # short name, address, MAC
    ip -n "$RUN_ID-$1" link add eth0 address "$3" type veth peer name "port-$1" netns "$RUN_ID-sw"
    ip -n "$RUN_ID-sw" link set "port-$1" master br0 up
    ip -n "$RUN_ID-$1" addr add "$2/24" dev eth0
    ip -n "$RUN_ID-$1" link set eth0 up
}

# A port of the switch for one machine.
tap() { # name
    ip -n "$RUN_ID-sw" tuntap add "$1" mode tap
    ip -n "$RUN_ID-sw" link set "$1" master br0 up
}

# The LAN's own DHCP server, which has never heard of network boot.
router_up() {
    background router ip netns exec "$RUN_ID-rt" dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --no-ping \
        --interface=eth0 --bind-interfaces --dhcp-authoritative --dhcp-range="$SUBNET.100,$SUBNET.199,1h" \
        --dhcp-option=option:router,"$ROUTER" --dhcp-option=option:dns-server,"$ROUTER" --domain=lab.example.net \
        --dhcp-leasefile="$RUN/leases" --pid-file= --user=root --log-dhcp --log-facility=-
    # The appliance's set-up asks the segment who lends addresses.
    wait_for 30 "the router" grep -q 'DHCP, IP range' "$RUN/router.log"
}

# Everything but the bulk of TCP: who asked whom for what stays readable, and the file small.
capture_up() {
    background capture ip netns exec "$RUN_ID-sw" tcpdump -Z root -q -n -i br0 -U -w "$RUN/lan.pcap" -s 1600 \
        'udp or arp or (tcp and (tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst|tcp-push) != 0))'
}
