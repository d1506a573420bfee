# Starts the cluster file system, which also makes the link of authorized_keys and the node's SSH key.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
{
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
