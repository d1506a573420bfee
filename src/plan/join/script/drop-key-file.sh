# Removes the key of a cluster that was never configured.
[ -e /etc/pve/corosync.conf ] && exit 1
rm -f /etc/corosync/authkey /run/join.rc /run/join.log /run/join.pid
