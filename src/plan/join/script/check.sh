# Counts the key with the base64 body $1 in every file that may hold it. $2: node or member. Changes nothing.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
[ -n "$1" ] || exit 1
ok=yes
mountpoint -q /etc/pve || ok=no
for file in /etc/pve/priv/authorized_keys /root/.ssh/* /etc/ssh/* /run/join.*; do
  [ -f "$file" ] || continue
  count=$(grep -cF -- "$1" "$file")
  [ $? -le 1 ] || ok=no
  printf 'count=%s %s\n' "$count" "$file"
  [ "$count" = 0 ] || printf 'left=%s\n' "$file"
done
if [ "$2" = node ]; then
  # Compressed copies of the database from before the join: they hold the installer's key, the old CA key and tokens.
  for file in /var/lib/pve-cluster/backup/config-*.sql.gz; do
    [ -e "$file" ] && printf 'left=%s\n' "$file"
  done
fi
echo "checked=$ok"
