# Prints what is found on the fresh node as key=value lines. Changes nothing. $1: the node's name.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
say() { printf '%s=%s\n' "$1" "$2"; }
name=$(hostname)
say hostname "$name"
{ getent hosts "$name" || awk -v n="$name" '!/^#/ { for (i = 2; i <= NF; i++) if ($i == n) print $1 }' /etc/hosts; } 2>/dev/null |
  awk '{ print "address=" $1 }'
mountpoint -q /etc/pve && say mounted yes
[ -e /etc/corosync/authkey ] && say authkey yes
[ -s "/etc/pve/nodes/$1/pve-ssl.pem" ] && say certificate yes
if [ -e /etc/pve/corosync.conf ]; then
  say conf yes
  sed 's/^/corosync=/' /etc/pve/corosync.conf
fi
for guest in /etc/pve/nodes/*/lxc/*.conf /etc/pve/nodes/*/qemu-server/*.conf; do
  [ -e "$guest" ] && say guest "${guest##*/}"
done | head -n 20
if [ -e /run/join.rc ]; then
  say attempt ended
  say rc "$(cat /run/join.rc)"
elif pid=$(cat /run/join.pid 2>/dev/null) && [ -n "$pid" ] &&
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ironhatch-join; then
  say attempt running
elif [ -e /run/join.log ]; then
  say attempt killed
fi
[ -e /run/join.log ] && tail -n 60 /run/join.log | sed 's/^/log=/'
say version "$(pveversion 2>/dev/null | head -n 1)"
say epoch "$(date +%s)"
exit 0
