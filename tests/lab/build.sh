# shellcheck shell=bash
# What a run needs before it starts, sourced by run.sh. Everything is kept in $TOP and only made again when its inputs changed.

CACHE=$TOP/cache
NODE=$TOP/node
INSTALLER=$REPOSITORY/target/x86_64-unknown-linux-gnu/debug/examples/lab-installer
PVECM=${LAB_PVECM:-$LAB/pvecm}

iso_path() { echo "$TOP/iso/pve-$1.iso"; }

build_all() {
    local release digest
    "$LAB/install.sh"
    if [ -z "${LAB_NO_CARGO:-}" ]; then
        (cd "$REPOSITORY" && cargo build --quiet --locked --example lab-installer --bin ironhatch)
    fi
    "$LAB/packages.sh" "$CACHE"
    digest=$(digest_of "$CACHE/packages.done" "$PVECM" "$LAB"/build-node.sh "$LAB"/modules.sh "$LAB"/node/{rc,first-boot,inittab,initramfs-init})
    if stale "$NODE/built" "$digest"; then
        echo "lab: building the node image"
        "$LAB/build-node.sh" "$CACHE" "$NODE" "$PVECM"
        echo "$digest" >"$NODE/built"
    fi
    mkdir -p "$TOP/iso"
    for release in ${RELEASES//,/ }; do
        digest=$(digest_of "$NODE/built" "$INSTALLER" "$LAB"/build-iso.sh "$LAB"/node/{installer-init,lease-hook})
        if stale "$(iso_path "$release").built" "$digest"; then
            "$LAB/build-iso.sh" "$CACHE" "$NODE" "$INSTALLER" "$release" "$(iso_path "$release")"
            echo "$digest" >"$(iso_path "$release").built"
        fi
    done
}

digest_of() { sha256sum -- "$@" | sha256sum | cut -d' ' -f1; }

stale() { [ ! -f "$1" ] || [ "$(cat "$1")" != "$2" ]; }
