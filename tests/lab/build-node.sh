#!/bin/bash
# Builds what the stand-in installer writes to disk: one image that boots on BIOS and on UEFI without fetching anything.
# GPT: 1 BIOS boot (GRUB core), 2 EFI system partition (GRUB), 3 ext4 root with OpenSSH and the cluster commands' double.
# Also leaves the plain root tree, which the cluster member (member.sh) runs in. Usage: build-node.sh CACHE OUT PVECM
set -euo pipefail

lab=$(cd "$(dirname "$0")" && pwd)
cache=$(realpath "$1")
out=$(realpath -m "$2")
pvecm=$(realpath "$3")
tree="$cache/tree"
work="$out/work"
rm -rf "$work"
mkdir -p "$work" "$out"

# Programs that are copied from the downloaded packages; everything else a script may call is busybox.
programs="bash mountpoint ssh ssh-keygen ssh-keyscan ssh-add scp curl ip getent sshd sftp-server"

find_program() { # name -> path inside the tree
    local directory
    for directory in usr/bin usr/sbin bin sbin usr/lib/openssh; do
        if [ -f "$tree/$directory/$1" ]; then echo "$directory/$1"; return; fi
    done
    echo "lab: $1 is not in the downloaded packages" >&2
    exit 1
}

root="$work/root"
mkdir -p "$root"/{dev,proc,sys,run,tmp,mnt,root/.ssh,etc/ssh,etc/lab,etc/network/interfaces.d,etc/corosync,boot} \
    "$root"/var/lib/{proxmox-first-boot,pve-cluster} "$root"/var/empty "$root"/usr/{bin,sbin,lib/openssh,lib64,local/sbin}
for merged in bin sbin lib64 lib; do ln -s "usr/$merged" "$root/$merged"; done
ln -s /run "$root/var/run"
chmod 700 "$root/root/.ssh" "$root/var/lib/proxmox-first-boot"

libraries() { # path inside the tree -> files it needs, as paths inside the tree
    chroot "$tree" /lib64/ld-linux-x86-64.so.2 --list "/$1" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }'
}
declare -A wanted=()
for name in $programs; do
    path=$(find_program "$name")
    case $path in *openssh*) target="usr/lib/openssh/$name" ;; *sbin/*) target="usr/sbin/$name" ;; *) target="usr/bin/$name" ;; esac
    install -D -m 755 "$tree/$path" "$root/$target"
    while read -r library; do wanted[$library]=1; done < <(libraries "$path")
done
for extra in "$tree"/lib/x86_64-linux-gnu/libnss_{files,dns}.so.2 "$tree"/usr/lib/x86_64-linux-gnu/libnss_{files,dns}.so.2; do
    [ ! -e "$extra" ] || wanted[${extra#"$tree"}]=1
done
for library in "${!wanted[@]}"; do
    install -D -m 755 "$(realpath "$tree/$library")" "$root/usr/lib/x86_64-linux-gnu/${library##*/}"
done
install -D -m 755 "$(realpath "$tree/lib64/ld-linux-x86-64.so.2")" "$root/usr/lib64/ld-linux-x86-64.so.2"
# OpenSSH 9.8 and later (Debian 13) split sshd into several programs.
for helper in sshd-session sshd-auth; do
    [ ! -f "$tree/usr/lib/openssh/$helper" ] || install -m 755 "$tree/usr/lib/openssh/$helper" "$root/usr/lib/openssh/"
done

busybox="$tree/$(find_program busybox)"
install -m 755 "$busybox" "$root/usr/bin/busybox"
for applet in $("$busybox" --list); do
    [ -e "$root/usr/bin/$applet" ] || [ -e "$root/usr/sbin/$applet" ] || ln -s busybox "$root/usr/bin/$applet"
done
rm -f "$root"/usr/bin/init
ln -s ../bin/busybox "$root/usr/sbin/init"

install -m 755 "$pvecm" "$root/usr/bin/pvecm"
# The names of one double (busybox has none of them).
for name in pvesh pveversion systemctl systemd-run; do ln -sf pvecm "$root/usr/bin/$name"; done
install -m 755 "$lab/node/rc" "$lab/node/first-boot" "$root/etc/lab/"
install -m 644 "$lab/node/inittab" "$root/etc/inittab"
printf 'root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/bin/false\nnobody:x:65534:65534::/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf 'root:*:19000::::::\nsshd:*:19000::::::\n' >"$root/etc/shadow"
chmod 640 "$root/etc/shadow"
printf 'hosts: files\npasswd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
printf '/bin/sh\n/bin/bash\n' >"$root/etc/shells"
cat >"$root/etc/ssh/sshd_config" <<'CONFIG'
PermitRootLogin yes
UsePAM no
UseDNS no
PrintMotd no
Subsystem sftp /usr/lib/openssh/sftp-server
CONFIG
# The recorded behaviour of a join: the session that started it is gone when the cluster file system stops.
mkdir -p "$root/etc/default"
echo 'PVECM_DROP_SSH=1' >"$root/etc/default/pvecm-double"

# Drivers and a small initramfs for it.
"$lab/modules.sh" "$cache" "$work/initramfs/modules" virtio_pci virtio_blk virtio_net virtio_rng e1000 ext4 bridge
install -D -m 755 "$busybox" "$work/initramfs/bin/busybox"
install -m 755 "$lab/node/initramfs-init" "$work/initramfs/init"
(cd "$work/initramfs" && find . | cpio -o -H newc -R 0:0 --quiet | zstd -q -9 >"$root/boot/initrd.img")
cp -L "$cache/vmlinuz" "$root/boot/vmlinuz"

# GRUB with its whole configuration built in, so that it needs neither NVRAM variables nor files of its own.
mkdir -p "$tree/lab"
cat >"$tree/lab/grub.cfg" <<'CONFIG'
serial --unit=0 --speed=115200
terminal_output serial
search --no-floppy --label --set=root lab-root
linux /boot/vmlinuz root=/dev/vda3 console=ttyS0,115200 quiet
initrd /boot/initrd.img
boot
CONFIG
modules="part_gpt ext2 search search_label linux serial terminal echo normal"
chroot "$tree" grub-mkimage -O i386-pc -o /lab/core.img -p /grub -c /lab/grub.cfg biosdisk $modules
chroot "$tree" grub-mkimage -O x86_64-efi -o /lab/BOOTX64.EFI -p /grub -c /lab/grub.cfg $modules

# Put it together: MiB 1 core image, 2-17 EFI system partition, 18-145 root.
image="$work/disk.img"
truncate -s 147M "$image"
sfdisk -q "$image" <<'TABLE'
label: gpt
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
start=4096, size=32768, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=36864, size=262144, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
TABLE
mke2fs -q -t ext4 -L lab-root -d "$root" -E lazy_itable_init=0 -O '^metadata_csum,^has_journal,^orphan_file' "$work/root.ext4" 128M 2>/dev/null ||
    mke2fs -q -t ext4 -L lab-root -d "$root" -E lazy_itable_init=0 -O '^metadata_csum,^has_journal' "$work/root.ext4" 128M
dd if="$work/root.ext4" of="$image" bs=1M seek=18 conv=notrunc,sparse status=none
truncate -s 16M "$work/esp.fat"
mkfs.vfat -n LABESP "$work/esp.fat" >/dev/null
mmd -i "$work/esp.fat" ::/EFI ::/EFI/BOOT
mcopy -i "$work/esp.fat" "$tree/lab/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
dd if="$work/esp.fat" of="$image" bs=1M seek=2 conv=notrunc,sparse status=none
# boot.img loads the core image from the sector named at 0x5c; the core's first sector says where its rest is (block list
# in its last 12 bytes: start sector, length in sectors, segment).
python3 - "$image" "$tree/usr/lib/grub/i386-pc/boot.img" "$tree/lab/core.img" <<'PYTHON'
import struct, sys
image, boot, core = sys.argv[1:4]
first = 2048
boot = bytearray(open(boot, "rb").read())
core = bytearray(open(core, "rb").read())
assert len(boot) == 512 and len(core) < 1 << 20
struct.pack_into("<Q", boot, 0x5c, first)
boot[0x64] = 0xFF  # the drive that the firmware booted
boot[0x66:0x68] = b"\x90\x90"  # no test of the drive number: as GRUB's own set-up does for hard disks
sectors = (len(core) + 511) // 512
struct.pack_into("<QHH", core, 500, first + 1, sectors - 1, 0x820)
with open(image, "r+b") as disk:
    disk.write(boot[:440])
    disk.seek(first * 512)
    disk.write(core)
PYTHON

mkdir -p "$work/base"
mv "$image" "$work/base/disk.img"
rm -rf "$out/member-root"
mv "$root" "$out/member-root"
rm -f "$out/pve-base.squashfs"
mksquashfs "$work/base" "$out/pve-base.squashfs" -quiet -no-progress -noappend -comp gzip -b 256K
rm -rf "$work"
echo "lab: node image $(du -m "$out/pve-base.squashfs" | cut -f1) MiB"
