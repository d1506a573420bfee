#!/bin/sh
# Tells Ironhatch that this freshly installed machine is up, where it is, and which SSH host keys it has.
#
# The installer's first-boot service runs it (ordering "network-online") on each boot until it ends with status 0, so it
# may run many times and changes nothing but its own file. Its output is in the journal.
set -u
umask 077
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH

base_url='http://192.0.2.10:8080'
host_id='018f0000-0000-7000-8000-000000000001'
token=''
# The appliance's own certificate (base64 of its DER form); the only one that is trusted when the URL is HTTPS.
certificate=''

say() { printf 'ironhatch first boot: %s\n' "$*"; }

baked_in=yes
if [ -z "$token" ]; then
	baked_in=no
	token=${IRONHATCH_TOKEN:-}
	if [ -z "$token" ]; then
		say 'this copy was made without a token: set IRONHATCH_TOKEN to the install token of the rebuild' >&2
		exit 2
	fi
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM

# One line of printable ASCII from standard input, as a JSON string.
json_string() {
	head -n 1 | tr -cd '\40-\176' | sed 's/[\\"]/\\&/g; s/^/"/; s/$/"/' | grep . || printf '""'
}

# Lines from standard input as a JSON array of strings.
json_array() {
	separator=
	printf '['
	while IFS= read -r line; do
		[ -n "$line" ] || continue
		printf '%s%s' "$separator" "$(printf '%s\n' "$line" | json_string)"
		separator=,
	done
	printf ']'
}

# Content of a file of the kernel, or nothing: DMI is absent on some machines, and its serial is for root only.
fact() { cat -- "$1" 2>/dev/null; }

# IPv4 address of the interface that has the default route; without one, of the way to the appliance.
own_address() {
	device=$(ip -4 route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
	address=
	if [ -n "$device" ]; then
		address=$(ip -4 addr show dev "$device" scope global 2>/dev/null |
			sed -n 's/^ *inet \([0-9.]*\).*/\1/p' | head -n 1)
	fi
	if [ -z "$address" ]; then
		appliance=$(printf '%s\n' "$base_url" | sed 's|^[a-z]*://||; s|[:/].*||')
		address=$(ip -4 route get "$appliance" 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p' | head -n 1)
	fi
	printf '%s\n' "$address"
}

# Hardware addresses of the physical interfaces.
own_macs() {
	for interface in /sys/class/net/*; do
		[ -e "$interface/device" ] && fact "$interface/address"
	done
}

own_host_keys() {
	for key in /etc/ssh/ssh_host_*_key.pub; do
		[ -f "$key" ] && head -n 1 -- "$key"
	done
}

booted_from() {
	if [ -d /sys/firmware/efi ]; then printf 'efi\n'; else printf 'bios\n'; fi
}

report() {
	printf '{"address":%s,' "$(own_address | json_string)"
	printf '"hostname":%s,' "$(uname -n | json_string)"
	printf '"machine_id":%s,' "$(fact /etc/machine-id | json_string)"
	printf '"uuid":%s,' "$(fact /sys/class/dmi/id/product_uuid | json_string)"
	printf '"serial":%s,' "$(fact /sys/class/dmi/id/product_serial | json_string)"
	printf '"macs":%s,' "$(own_macs | json_array)"
	printf '"ssh_host_keys":%s,' "$(own_host_keys | json_array)"
	printf '"booted_from":%s}\n' "$(booted_from | json_string)"
}

# Sends the report; the token does not appear among the processes when curl is there.
send() {
	url=$base_url/api/hosts/$host_id/phone-home
	if command -v curl >/dev/null 2>&1; then
		printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/curl"
		if [ -n "$certificate" ]; then
			{
				printf -- '-----BEGIN CERTIFICATE-----\n'
				printf '%s\n' "$certificate" | fold -w 64
				printf -- '-----END CERTIFICATE-----\n'
			} >"$work/ca.pem"
			printf 'cacert = "%s"\n' "$work/ca.pem" >>"$work/curl"
		fi
		status=$(curl --config "$work/curl" --silent --show-error --max-time 30 --noproxy '*' \
			--header 'Content-Type: application/json' --data-binary "@$work/report" \
			--output "$work/reply" --write-out '%{http_code}' -- "$url")
	# QUIRK(busybox-wget): its -T crashes in Debian 12's static build (1.35.0), so the limit comes from outside.
	elif [ -n "$certificate" ]; then
		say 'curl is needed to check the certificate of Ironhatch' >&2
		status=000
	elif timeout 30 wget -q -O "$work/reply" --header 'Content-Type: application/json' \
		--header "Authorization: Bearer $token" --post-file "$work/report" "$url"; then
		status=200
	else
		status=000
	fi
	case $status in
	2??) return 0 ;;
	4??)
		say "refused by $base_url (status $status): $(fact "$work/reply" | head -n 1)" >&2
		return 1
		;;
	*)
		say "no usable answer from $base_url (status $status)" >&2
		return 1
		;;
	esac
}

try=1
wait=2
while :; do
	# Anew for each try: the address may come late, SSH may still be writing its keys.
	report >"$work/report"
	if send; then
		break
	fi
	if [ "$try" -ge 10 ]; then
		say 'gave up for this boot; the next boot tries again' >&2
		exit 1
	fi
	sleep "$wait"
	try=$((try + 1))
	wait=$((wait * 2))
	[ "$wait" -le 30 ] || wait=30
done
say 'reported to Ironhatch'

# The file stays after the installer's service is done, and it holds the token.
if [ "$baked_in" = yes ] && [ -f "$0" ]; then
	rm -f -- "$0"
fi
exit 0
