# Makes a node stand-alone again that got the cluster's key but did not become a member. The old database goes before the
# key: it must never meet the new configuration, and the key is the sign by which an interrupted repair is found.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
{
  systemctl stop pve-cluster corosync
  rm -f /var/lib/pve-cluster/config.db*
  rm -f /etc/corosync/corosync.conf
  rm -f /etc/corosync/authkey
  rm -f /run/join.rc /run/join.log /run/join.pid
  systemctl start pve-cluster
  tries=0
  until mountpoint -q /etc/pve || [ "$tries" -ge 15 ]; do
    tries=$((tries + 1))
    sleep 1
  done
  pvecm updatecerts
} >/run/join-repair.log 2>&1
cat /run/join-repair.log
mountpoint -q /etc/pve
