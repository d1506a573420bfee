# Brings the lines on standard input into the cluster's shared authorized_keys, and drops every other line whose comment is
# root@$1 (stale keys of an earlier node of that name; none when $1 is empty). The file is written over, never renamed:
# /root/.ssh/authorized_keys of every node is a link to it.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
file=/etc/pve/priv/authorized_keys
mountpoint -q /etc/pve || { echo '/etc/pve is not mounted' >&2; exit 1; }
[ -e "$file" ] || : >"$file" || exit 1
new=$(mktemp /run/ironhatch.XXXXXX) || exit 1
trap 'rm -f "$new"' EXIT
if [ -n "$1" ]; then grep -v " root@$1\$" "$file" >"$new"; else grep '' "$file" >"$new"; fi
[ $? -le 1 ] || exit 1
while IFS= read -r line; do
  [ -z "$line" ] || grep -qxF -- "$line" "$new" || printf '%s\n' "$line" >>"$new" || exit 1
done
cmp -s "$new" "$file" || cat "$new" >"$file" || exit 1
cmp -s "$new" "$file" || exit 1
echo written=yes
