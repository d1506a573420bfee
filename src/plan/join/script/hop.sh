# Runs a command on the node at $1 from a member. $2: known_hosts line pattern with the node's pinned keys, $3: the command.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
cd / || exit 1
known=$(mktemp /run/ironhatch.XXXXXX) || exit 1
trap 'rm -f "$known"' EXIT
printf '%s\n' "$2" >"$known"
ssh -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=yes -o "UserKnownHostsFile=$known" \
  -o GlobalKnownHostsFile=/dev/null "root@$1" "$3" </dev/null
