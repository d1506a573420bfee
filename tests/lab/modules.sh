#!/bin/bash
# Copies kernel modules and all they depend on into a flat directory, with their load order in the file "order".
# Modules that are built into the kernel are skipped. Usage: modules.sh CACHE DIRECTORY MODULE...
set -euo pipefail
cache=$(realpath "$1")
directory=$2
shift 2
modules=$(realpath "$cache/modules")
base=${modules%/lib/modules/*}
mkdir -p "$directory"
: >"$directory/order"
for module in "$@"; do
    modprobe -d "$base" -S "${modules##*/}" --show-depends "$module" | awk '$1 == "insmod" { print $2 }' |
        while read -r file; do
            name=$(basename "$file" | sed 's/\.ko.*/.ko/')
            grep -qx "$name" "$directory/order" && continue
            case $file in
            *.xz) xz -dc "$file" >"$directory/$name" ;;
            *.zst) zstd -qdc "$file" >"$directory/$name" ;;
            *) cp "$file" "$directory/$name" ;;
            esac
            echo "$name" >>"$directory/order"
        done
done
