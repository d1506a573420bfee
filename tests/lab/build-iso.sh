#!/bin/bash
# Builds a stand-in for the vendor's ISO with its layout: kernel and initrd in /boot, two squashfs images, the identity files.
# Usage: build-iso.sh CACHE NODE INSTALLER RELEASE OUT.iso
#   NODE       what build-node.sh left        INSTALLER  the static lab-installer program        RELEASE  such as 9.2
set -euo pipefail

lab=$(cd "$(dirname "$0")" && pwd)
cache=$(realpath "$1")
node=$(realpath "$2")
installer=$(realpath "$3")
release=$4
out=$(realpath -m "$5")
work="$out.work"
rm -rf "$work"
mkdir -p "$work"/iso/{boot,.disk,proxmox/packages} "$work/initrd/bin" "$work/live"

id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
cat >"$work/iso/.cd-info" <<INFO
PRODUCT='pve'
PRODUCTLONG='Proxmox VE'
RELEASE='$release'
ISORELEASE='1'
ISONAME='proxmox-ve'
INFO
cp "$work/iso/.cd-info" "$work/iso/.disk/info"
echo "$id" >"$work/iso/.pve-cd-id.txt"
: >"$work/iso/auto-installer-capable"
echo 1000 >"$work/iso/proxmox/pve-base.cnt"
echo "a package would be here" >"$work/iso/proxmox/packages/stand-in.deb"

install -m 755 "$cache/tree/usr/bin/busybox" "$work/initrd/bin/" 2>/dev/null || install -m 755 "$cache/tree/bin/busybox" "$work/initrd/bin/"
install -m 755 "$lab/node/installer-init" "$work/initrd/init"
install -m 755 "$lab/node/lease-hook" "$work/initrd/lease-hook"
cp "$work/iso/.cd-info" "$work/iso/.pve-cd-id.txt" "$work/initrd/"
"$lab/modules.sh" "$cache" "$work/initrd/modules" virtio_pci virtio_blk virtio_net virtio_rng e1000 loop isofs squashfs ext4 overlay
(cd "$work/initrd" && find . | cpio -o -H newc -R 0:0 --quiet | zstd -q -9 >"$work/iso/boot/initrd.img")
# The vendor's length is 1 modulo 4, which finds loaders that do not pad. The kernel skips zeros between archives.
initrd="$work/iso/boot/initrd.img"
truncate -s +$(((5 - $(stat -c %s "$initrd") % 4) % 4)) "$initrd"
cp -L "$cache/vmlinuz" "$work/iso/boot/linux26"

install -m 755 "$installer" "$work/live/lab-installer"
strip "$work/live/lab-installer"
mksquashfs "$work/live" "$work/iso/pve-installer.squashfs" -quiet -no-progress -noappend -comp gzip
cp "$node/pve-base.squashfs" "$work/iso/pve-base.squashfs"

rm -f "$out"
xorriso -as mkisofs -quiet -R -J -V PVE -o "$out" "$work/iso" 2>&1 | grep -v '^xorriso : \(UPDATE\|NOTE\)' || true
rm -rf "$work"
[ -s "$out" ]
echo "lab: ISO $release: $(du -m "$out" | cut -f1) MiB"
