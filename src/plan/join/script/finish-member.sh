# Finishes a member whose `pvecm add` was interrupted after the quorum: node files, certificate, daemons.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
{
  pvecm updatecerts --force
  systemctl restart pvedaemon pveproxy
} >/run/join-repair.log 2>&1
cat /run/join-repair.log
exit 0
