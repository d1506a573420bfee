# shellcheck shell=bash
# Everything that the lab asks of the appliance, sourced by run.sh: its configuration, its start, its command line.
# $LAB_APPLIANCE can name another file with the same functions, to try the lab itself with another appliance.

APPLIANCE_DIR=$RUN/appliance
APPLIANCE_CONFIG=$APPLIANCE_DIR/ironhatch.toml

ironhatch() { "$IRONHATCH_BIN" --config "$APPLIANCE_CONFIG" "$@"; }

# The key with which the appliance opens the cluster's member. It is made before either of them starts.
appliance_prepare() {
    [ -x "$IRONHATCH_BIN" ] || die "$IRONHATCH_BIN is not there; build it or set IRONHATCH_BIN"
    mkdir -p "$APPLIANCE_DIR/server-types" "$APPLIANCE_DIR/answer-templates"
    ssh-keygen -q -t ed25519 -N '' -C ironhatch -f "$APPLIANCE_DIR/member_key"
}

appliance_public_keys() { cat "$APPLIANCE_DIR/member_key.pub"; }

# As an operator does it: `ironhatch setup` looks at the machine and at the segment and proposes interface, address, proxy mode and
# HTTPS. The answers have only what it cannot know; what only the lab wants is changed in the files that it wrote.
appliance_configure() {
    cat >"$APPLIANCE_DIR/answers.toml" <<ANSWERS
existing_node = "$MEMBER"
member_fingerprint = "$(member_fingerprint)"
ssh_keys = []
server_type = { name = "lab", display_name = "Lab machine" }
start = false
ANSWERS
    [ "$TLS" = auto ] || echo 'tls = false' >>"$APPLIANCE_DIR/answers.toml"
    in_ns ap "$IRONHATCH_BIN" --config "$APPLIANCE_CONFIG" setup --answers "$APPLIANCE_DIR/answers.toml" >>"$RUN/commands.log" 2>&1 ||
        die "setup failed: $(tail -3 "$RUN/commands.log")"
    grep -q '^mode = "proxy"' "$APPLIANCE_CONFIG" || die "setup did not hear the router's DHCP server, see $APPLIANCE_CONFIG"
    [ "$TLS" = off ] || grep -q '^tls = "auto"' "$APPLIANCE_CONFIG" || die "setup did not propose HTTPS, see $APPLIANCE_CONFIG"
    sed -i -e "s|^data_dir = .*|data_dir = \"$APPLIANCE_DIR/data\"|" \
        -e "s|^\[proxmox\]|&\nmember_key = \"file:$APPLIANCE_DIR/member_key\"|" "$APPLIANCE_CONFIG"
    # Each machine's disk has its own serial number: hosts name their disk themselves, as setup proposes.
    cat >>"$APPLIANCE_DIR/server-types/lab.toml" <<'TYPE'
hostname_prefix = "pve-"
domain = "lab.example.net"
answer_template = "lab"
TYPE
    cat >"$APPLIANCE_DIR/answer-templates/lab.toml" <<'TEMPLATE'
[global]
country = "at"
keyboard = "en-us"
timezone = "UTC"
mailto = "root@{{ domain }}"

[disk-setup]
filesystem = "ext4"
TEMPLATE
}

appliance_start() {
    appliance_configure
    background appliance ip netns exec "$RUN_ID-ap" "$IRONHATCH_BIN" --config "$APPLIANCE_CONFIG" serve
    wait_for 30 "the appliance" appliance_answers
}

appliance_answers() {
    is_running appliance || die "the appliance ended: $(tail -3 "$RUN/appliance.log")"
    ironhatch host list --json >/dev/null 2>&1
}

appliance_import() { # ISO, release
    ironhatch image import "$1" --wait >>"$RUN/commands.log" 2>&1 || die "image import failed: $(tail -3 "$RUN/commands.log")"
}

appliance_register() { # name, MAC, disk serial, release
    ironhatch host add --name "$1" --mac "$2" --type lab --disk-serial "$3" >>"$RUN/commands.log" 2>&1 ||
        die "host add failed: $(tail -3 "$RUN/commands.log")"
}

appliance_rebuild() { # name
    local image
    image=$(ironhatch image list --json | json_value '[i["id"] for i in d["images"] if i["release"] == "'"${RELEASE[$1]}"'"][0]')
    ironhatch host rebuild "$1" --image "$image" --confirm "$1" >>"$RUN/commands.log" 2>&1 ||
        die "host rebuild failed: $(tail -3 "$RUN/commands.log")"
}

appliance_state() { # name
    ironhatch host show "$1" --json | json_value 'd["state"]'
}

appliance_sightings() { # one MAC address per line
    ironhatch sighting list --json | json_value '"\n".join(s["mac"] for s in d["sightings"])'
}

# What only this appliance can be asked for.
appliance_checks() {
    local name
    for name in "${NODES[@]}"; do
        check "$name: no job is left running" bash -c '[ "$1" = None ]' _ "$(ironhatch host show "$name" --json | json_value 'd["job"]')"
    done
}

appliance_sign_in_hint() {
    grep -o 'http://[^ "]*/setup?token=[^ "]*' "$RUN/appliance.log" | tail -1 |
        sed "s|http://$APPLIANCE:8080|lab: set the operator's password first at http://127.0.0.1:$(head -1 "$RUN/dashboard.log")|"
}

# An expression over the JSON document on standard input, as d.
json_value() {
    python3 -c 'import json, sys
d = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$1"
}
