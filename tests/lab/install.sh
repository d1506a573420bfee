#!/bin/sh
# Installs the Debian packages that the lab's host side needs. May be repeated. Everything that runs inside the
# lab's machines (kernel, OpenSSH, GRUB, ...) is downloaded by packages.sh instead and never installed here.
set -eu

packages="qemu-system-x86 ovmf seabios ipxe-qemu dnsmasq-base tcpdump iproute2 procps xorriso squashfs-tools
fdisk e2fsprogs dosfstools xz-utils mtools cpio kmod zstd openssh-client python3 binutils util-linux"

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
    echo "lab: all packages are installed"
    exit 0
fi

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "lab: missing$missing; run this as root" >&2; exit 1; }
    as_root=sudo
fi
echo "lab: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to be split into words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
