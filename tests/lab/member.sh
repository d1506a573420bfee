# shellcheck shell=bash
# The cluster's first member, sourced by run.sh: real OpenSSH and the cluster commands' double in namespaces of their own
# (network, mounts, host name, processes), running in a copy of the installed node's root tree. No virtual machine.

MEMBER_NAME=pve-m

member_up() { # public keys that may log in, one per line
    local root=$RUN/member-root
    cp -a "$NODE/member-root" "$root"
    echo "$MEMBER_NAME" >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n%s %s.lab.example.net %s\n' "$MEMBER" "$MEMBER_NAME" "$MEMBER_NAME" >"$root/etc/hosts"
    printf '%s\n' "$1" >"$root/root/.ssh/authorized_keys"
    chmod 600 "$root/root/.ssh/authorized_keys"
    cat >"$root/etc/lab/member" <<'SCRIPT'
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t tmpfs run /run
mkdir -p /run/sshd
ssh-keygen -q -A
hostname -F /etc/hostname
pvecm _double boot
pvecm create lab
echo "member: $(hostname) is up"
exec /usr/sbin/sshd -D -e
SCRIPT
    chmod 755 "$root/etc/lab/member"
    background member ip netns exec "$RUN_ID-m" unshare --mount --uts --ipc --pid --fork --kill-child \
        sh -c 'mount --rbind /dev "$1/dev" && exec chroot "$1" /etc/lab/member' sh "$root"
    wait_for 20 "the cluster member" member_listens
}

member_listens() { in_ns m bash -c "exec 3<>/dev/tcp/$MEMBER/22" 2>/dev/null; }

# As an operator reads it there and gives it to `ironhatch setup`.
member_fingerprint() { ssh-keygen -lf "$RUN/member-root/etc/ssh/ssh_host_ed25519_key.pub" | cut -d' ' -f2; }
