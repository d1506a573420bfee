#!/bin/bash
# Tries apps/lib.sh in a container: what it promises, and what it refuses. Vendors are out of reach here, so `curl` is a
# stand-in that hands out /tmp/served; everything else is real. Prints one line for each thing that holds.
# shellcheck disable=SC2015,SC2119 # the last command of each "A && B || wrong" is the one that may run in any case
set -euo pipefail
# shellcheck source=apps/lib.sh
. /opt/appstore/lib.sh

ok() { printf 'ok: %s\n' "$1"; }
wrong() { printf 'wrong: %s\n' "$1" >&2; exit 1; }
# refused WHAT COMMAND...: it must fail, in a shell of its own because it ends that.
refused() {
    local what=$1
    shift
    if ("$@") >/tmp/said 2>&1; then wrong "$what was not refused"; fi
    ok "$what is refused: $(tail -n 1 /tmp/said)"
}

[ "$(input text)" = $'a "b" \\ / c\td \u00e4\U1f600 $HOME `id`' ] || wrong "text: $(input text)"
[ "$(input number)" = 8080 ] && [ "$(input flag)" = true ] || wrong "number or flag"
[ "$(input empty fallback)" = fallback ] && [ "$(input missing fallback)" = fallback ] || wrong "default"
[ "$(input missing "")" = "" ] || wrong "empty default"
ok "inputs are read as they were written"
refused "a missing input" input missing

apt_install gpg
mkdir -p /tmp/bin
write_file /tmp/bin/curl 755 <<'CURL'
#!/bin/bash
while [ $# -gt 0 ]; do
    if [ "$1" = --output ]; then cp /tmp/served "$2"; fi
    shift
done
CURL
PATH=/tmp/bin:$PATH

printf 'hello\n' >/tmp/served
sum=$(sha256sum </tmp/served | cut -d ' ' -f 1)
fetch https://vendor.example/file "$sum" /tmp/file >/dev/null
[ "$(cat /tmp/file)" = hello ] || wrong "fetch"
ok "a download with its checksum is taken"
printf 'evil\n' >/tmp/served
refused "another file" fetch https://vendor.example/file "$sum" /tmp/other
[ ! -e /tmp/other ] && [ ! -e /tmp/other.part ] || wrong "something of the wrong file is left"

# Debian's own ring holds several keys, as a vendor's file may.
cp /usr/share/keyrings/debian-archive-keyring.gpg /tmp/served
refused "a key with another fingerprint" apt_repository vendor https://vendor.example/key \
    0000000000000000000000000000000000000000 "https://vendor.example/debian stable main" tool
[ ! -e /etc/apt/sources.list.d/vendor.list ] || wrong "the repository was added all the same"
fingerprint=$(gpg --show-keys --with-colons /tmp/served 2>/dev/null | awk -F : '$1 == "fpr" { print $10; exit }')
apt_repository vendor https://vendor.example/key "$fingerprint" "https://vendor.example/debian stable main" tool 'tool-*' >/dev/null
[ "$(gpg --show-keys --with-colons /etc/apt/keyrings/vendor.gpg 2>/dev/null | grep -c '^pub:')" = 1 ] || wrong "more keys than the pinned one"
ok "only the pinned key is trusted"

# A repository of our own at the vendor's place: what it offers beside the named packages must not win.
package() {
    mkdir -p "/tmp/repo/$1/DEBIAN"
    printf 'Package: %s\nVersion: 99\nArchitecture: all\nMaintainer: x <x@x.example>\nDescription: x\n' "$1" >"/tmp/repo/$1/DEBIAN/control"
    dpkg-deb --build --root-owner-group "/tmp/repo/$1" /tmp/repo >/dev/null
    (cd /tmp/repo && printf '%s\nFilename: ./%s\nSize: %s\nSHA256: %s\n\n' "$(dpkg-deb -f "$1"_99_all.deb)" "$1_99_all.deb" \
        "$(stat -c %s "$1"_99_all.deb)" "$(sha256sum "$1"_99_all.deb | cut -d ' ' -f 1)" >>Packages)
}
package tool
package bash
echo 'deb [trusted=yes] file:/tmp/repo ./' >/etc/apt/sources.list.d/vendor.list
sed -i 's/origin "vendor.example"/origin ""/' /etc/apt/preferences.d/vendor
APT_UPDATED=stale
apt_update >/dev/null
[ "$(apt-cache policy tool | awk '/Candidate/ { print $2 }')" = 99 ] || wrong "the named package cannot be had"
[ "$(apt-cache policy bash | awk '/Candidate/ { print $2 }')" != 99 ] || wrong "the vendor replaces bash"
ok "a vendor's repository provides the named packages only"
rm /etc/apt/sources.list.d/vendor.list

value=$'x"y\\z $HOME `id` %s'
env_line VALUE "$value" | write_file /tmp/env 600
[ "$(systemd-run --quiet --wait --pipe --collect --property EnvironmentFile=/tmp/env printenv VALUE)" = "$value" ] || wrong "env_line"
ok "systemd reads what env_line wrote"
refused "a value of two lines" env_line VALUE $'a\nb'

printf 'new\n' | write_file /tmp/dir/file 640 root:adm
[ "$(stat -c '%a %U:%G' /tmp/dir/file)" = "640 root:adm" ] && [ "$(ls /tmp/dir)" = file ] || wrong "write_file"
ok "files are written with mode and owner, without leftovers"
[ "$(html '<a href="x">&')" = '&lt;a href=&quot;x&quot;&gt;&amp;' ] || wrong "html"
fact colour blue
grep -qx 'colour=blue' "$APPSTORE/outputs.env" || wrong "fact"
nvidia_libraries | grep -q 'No NVIDIA driver' || wrong "nvidia_libraries without a driver"
ok "facts, pages, and no GPU where there is none"
