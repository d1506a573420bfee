# Prints the member's view of its cluster as key=value lines. Changes nothing.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
say() { printf '%s=%s\n' "$1" "$2"; }
pvecm status 2>/dev/null | sed 's/^/status=/'
pvecm nodes 2>/dev/null | sed 's/^/present=/'
pvesh get /cluster/status --output-format json 2>/dev/null | sed 's/^/view=/'
sed 's/^/corosync=/' /etc/pve/corosync.conf 2>/dev/null
for certificate in /etc/pve/nodes/*/pve-ssl.pem; do
  [ -s "$certificate" ] || continue
  node=${certificate%/pve-ssl.pem}
  say finished "${node##*/}"
done
# The brackets keep this very command line from being found.
for process in /proc/[0-9]*/cmdline; do
  tr '\0' ' ' <"$process" 2>/dev/null | grep -q 'pvecm [a]ddnode' && say adding yes
done
say version "$(pveversion 2>/dev/null | head -n 1)"
say epoch "$(date +%s)"
exit 0
