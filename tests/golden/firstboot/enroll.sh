#!/bin/sh
# Lets Ironhatch log in to this Proxmox VE node once, so that it can enroll it: puts a key that expires by itself into a file
# that only this node reads, and tells Ironhatch the node's SSH host keys. Nothing of the cluster is changed here.
#
# It is made for one node and one use; after 15 minutes neither the key nor the address works any more.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

url='https://192.0.2.10:8443/api/nodes/enroll/0123456789abcdef'
key='ssh-ed25519 AAAAC3Nz'
comment='ironhatch-enroll'
# The appliance's own certificate (base64 of its DER form); the only one that is trusted when the URL is HTTPS.
certificate='MIIB'
# sshd reads this file beside authorized_keys, which is the whole cluster's.
file=/root/.ssh/authorized_keys2

fail() {
	printf 'ironhatch: %s\n' "$*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || fail 'run this as root'
command -v pveversion >/dev/null || fail 'this is not a Proxmox VE node'
mountpoint -q /etc/pve || fail 'the cluster file system is down: systemctl start pve-cluster'
command -v curl >/dev/null || fail 'curl is missing'
sshd -T 2>/dev/null | grep -iq '^authorizedkeysfile .*authorized_keys2' ||
	fail "sshd does not read $file here; enroll this node with root's password instead"

work=$(mktemp -d) || exit 1
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Takes the key of an earlier try away. Without other keys the file goes.
forget() {
	[ -e "$file" ] || return 0
	grep -v " $comment\$" "$file" >"$work/keys"
	if [ -s "$work/keys" ]; then cat "$work/keys" >"$file"; else rm -f "$file"; fi
}

forget
mkdir -p /root/.ssh || exit 1
until=$(date -d '+15 minutes' +%Y%m%d%H%M) || exit 1
printf 'expiry-time="%s",restrict %s %s\n' "$until" "$key" "$comment" >>"$file" || exit 1

{
	printf 'name=%s\n' "$(hostname)"
	for kind in ed25519 rsa; do
		public=/etc/ssh/ssh_host_${kind}_key.pub
		[ -r "$public" ] && printf 'host_key=%s\n' "$(head -n 1 "$public")"
	done
} >"$work/report"

set -- --silent --show-error --fail-with-body --max-time 60 --noproxy '*' --data-binary "@$work/report" \
	--header 'Content-Type: text/plain; charset=utf-8'
if [ -n "$certificate" ]; then
	{
		echo '-----BEGIN CERTIFICATE-----'
		printf '%s\n' "$certificate" | fold -w 64
		echo '-----END CERTIFICATE-----'
	} >"$work/certificate"
	set -- "$@" --cacert "$work/certificate"
fi
if answer=$(curl "$@" "$url" 2>&1); then
	printf 'ironhatch: this node is being enrolled; follow it in the dashboard\n%s\n' "$answer"
else
	forget
	fail "the appliance did not take it: $answer"
fi
