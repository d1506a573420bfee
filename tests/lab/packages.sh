#!/bin/bash
# Downloads the Debian packages that the lab's machines are made of and unpacks them into two trees:
#   $CACHE/tree    userland: busybox, OpenSSH, GRUB and all they depend on
#   $CACHE/kernel  the kernel and its modules
# apt resolves against an empty package state, so that the result does not depend on what this machine has installed,
# and nothing is ever installed here. Usage: packages.sh CACHE
set -euo pipefail

cache=$(realpath -m "$1")
userland="openssh-server openssh-client openssh-sftp-server busybox-static bash coreutils sed grep curl iproute2
libc-bin util-linux grub-common grub-pc-bin grub-efi-amd64-bin"

stamp="$cache/packages.done"
wanted="v1 $userland $(apt-cache policy openssh-server linux-image-amd64 | grep Candidate | tr -d '\n')"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

mkdir -p "$cache/debs/partial" "$cache/kernel-debs"
rm -rf "$cache/tree" "$cache/kernel" "$stamp"
: >"$cache/empty-status"

if ! apt-cache show linux-image-amd64 >/dev/null 2>&1; then apt-get update -qq; fi

echo "lab: downloading the machines' userland"
# shellcheck disable=SC2086
apt-get -qq -y -o Dir::State::status="$cache/empty-status" -o Dir::Cache::archives="$cache/debs" \
    -o APT::Sandbox::User=root -o Debug::NoLocking=1 --no-install-recommends --download-only install $userland
mkdir -p "$cache/tree"
for deb in "$cache"/debs/*.deb; do
    case ${deb##*/} in perl* | libperl* | gcc-* | libpng* | libfreetype*) continue ;; esac
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$cache/tree" \
        --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/share/locale*' --exclude='./usr/share/info*'
done

echo "lab: downloading the machines' kernel"
kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
(cd "$cache/kernel-debs" && apt-get -qq -o APT::Sandbox::User=root download "$kernel")
mkdir -p "$cache/kernel"
dpkg -x "$(ls -t "$cache"/kernel-debs/"$kernel"_*.deb | head -1)" "$cache/kernel"
version=$(basename "$cache"/kernel/boot/vmlinuz-* | sed 's/^vmlinuz-//')
modules="$cache/kernel/lib/modules"
[ -d "$modules" ] || modules="$cache/kernel/usr/lib/modules"
depmod -b "${modules%/lib/modules}" "$version"
ln -sfn "$modules/$version" "$cache/modules"
ln -sfn "$cache/kernel/boot/vmlinuz-$version" "$cache/vmlinuz"

printf '%s' "$wanted" >"$stamp"
