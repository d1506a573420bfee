# Prints the node's SSH host keys and the fingerprint of the certificate that port 8006 shows. Changes nothing.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for kind in ed25519 rsa; do
  file=/etc/ssh/ssh_host_${kind}_key.pub
  [ -r "$file" ] && printf 'host_key=%s\n' "$(head -n 1 "$file")"
done
# An uploaded or ordered certificate comes before the node's own.
for file in /etc/pve/local/pveproxy-ssl.pem /etc/pve/local/pve-ssl.pem; do
  if [ -s "$file" ]; then
    printf 'certificate=%s\n' "$(openssl x509 -in "$file" -noout -fingerprint -sha256)"
    break
  fi
done
exit 0
