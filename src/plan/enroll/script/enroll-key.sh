# Replaces every line whose comment is $1 in the cluster's shared authorized_keys by the line on standard input, if there is
# one. The file is written over, never renamed: /root/.ssh/authorized_keys of every node is a link to it.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
file=/etc/pve/priv/authorized_keys
mountpoint -q /etc/pve || { echo '/etc/pve is not mounted' >&2; exit 1; }
[ -e "$file" ] || : >"$file" || exit 1
new=$(mktemp /run/ironhatch.XXXXXX) || exit 1
trap 'rm -f "$new"' EXIT
awk -v comment="$1" '$NF != comment' "$file" >"$new" || exit 1
while IFS= read -r line || [ -n "$line" ]; do
  [ -z "$line" ] || printf '%s\n' "$line" >>"$new" || exit 1
done
cmp -s "$new" "$file" || cat "$new" >"$file" || exit 1
cmp -s "$new" "$file" || exit 1
echo written=yes
