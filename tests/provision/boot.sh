#!/bin/sh
# Boots one system container and waits for its end: boot.sh ROOT NAME ADDRESS/LENGTH CALLS
# Runs in namespaces of its own (PID, mount, network), made by container.rs: when this shell dies, everything dies with it.
# The container is unprivileged, as on a Proxmox VE node: root in it is user 100000 out here.
set -eu
root=$1 name=$2 address=$3 calls=$4

# The machine's own hierarchy may be v1, or none; a current systemd wants v2. Only this mount namespace sees the change.
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$name"
echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"

ip link set lo up
# Nobody else knows of this tree, and lock files would be left beside it.
export SYSTEMD_NSPAWN_LOCK=0
systemd-nspawn --quiet --boot --directory="$root" --machine="$name" --register=no --keep-unit \
    --private-users=100000:65536 --private-users-ownership=auto --network-veth-extra="outside:eth0" \
    --console=pipe --resolv-conf=off --timezone=off --link-journal=no --system-call-filter="$calls" &
container=$!
until ip link show outside >/dev/null 2>&1; do
    kill -0 "$container" || exit 1
    sleep 0.1
done
ip addr add "$address" dev outside
ip link set outside up
wait "$container"
