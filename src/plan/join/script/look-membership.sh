# Prints the new member's own view of the cluster as key=value lines. Changes nothing. $1: the node's name.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
pvecm status 2>/dev/null | sed 's/^/status=/'
pvecm nodes 2>/dev/null | sed 's/^/present=/'
[ -s "/etc/pve/nodes/$1/pve-ssl.pem" ] && echo certificate=yes
exit 0
