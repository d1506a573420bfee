# Puts the key on standard input into /root/.ssh/authorized_keys2, a local file that survives the join, and makes
# /root/.ssh/authorized_keys the link into /etc/pve again if it is not. $1: the key's base64 body.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 077
cd / || exit 1
keys=/root/.ssh/authorized_keys
line=$(cat)
[ -n "$line" ] || exit 1
mkdir -p /root/.ssh && touch "${keys}2" && chmod 600 "${keys}2" || exit 1
grep -qF -- "$1" "${keys}2" || printf '%s\n' "$line" >>"${keys}2" || exit 1
if [ ! -L "$keys" ]; then
  # A regular file would be merged into the cluster's file by the join.
  if [ -f "$keys" ]; then
    others=$(grep -vF -- "$1" "$keys")
    [ -z "$others" ] || printf '%s\n' "$others" >>"${keys}2"
    rm -f "$keys"
  fi
  pvecm updatecerts >/dev/null 2>&1
fi
[ -s /root/.ssh/id_rsa.pub ] || pvecm updatecerts >/dev/null 2>&1
[ -L "$keys" ] && echo linked=yes
[ -s /root/.ssh/id_rsa.pub ] && echo nodekey=yes
sshd -T 2>/dev/null | sed -n 's/^authorizedkeysfile /keyfiles=/p'
exit 0
