# shellcheck shell=bash
# Helpers of the provisioning scripts, pushed into the container as /opt/appstore/lib.sh. A script begins with
#
#   set -euo pipefail
#   . /opt/appstore/lib.sh
#
# Needs what Debian's base system has: bash, coreutils, apt, perl-base. Everything may be repeated. Inputs that are
# secret are never put into the environment or on a command line, and nothing here prints them.

APPSTORE=${APPSTORE:-/opt/appstore}
export DEBIAN_FRONTEND=noninteractive

# say TEXT...: one line of progress for the operator.
say() {
    printf '== %s\n' "$*"
}

# fail TEXT...: says why and ends the script.
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# input KEY [DEFAULT]: an input's value, secret or not. Without a default a missing or empty input ends the script.
input() {
    local value
    # A JSON object of strings, numbers and booleans needs no more than perl-base, which every Debian has.
    value=$(perl -e '
        use strict; use warnings;
        my ($key, $file) = @ARGV;
        open(my $in, "<:raw", $file) or die "cannot read $file: $!\n";
        local $/; my $text = <$in>; utf8::decode($text);
        my %plain = (n => "\n", t => "\t", r => "\r", b => "\b", f => "\f", "/" => "/", "\\" => "\\", "\"" => "\"");
        my $string = qr/"((?:[^"\\]|\\.)*+)"/s;
        sub plain {
            my ($s) = @_;
            $s =~ s/\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/
                chr(0x10000 + ((hex($1) - 0xD800) << 10) + hex($2) - 0xDC00)/gex;
            $s =~ s/\\(?:u([0-9a-fA-F]{4})|(.))/defined $1 ? chr(hex($1)) : $plain{$2} \/\/ $2/gexs;
            return $s;
        }
        while ($text =~ /\G\s*[{,]\s*$string\s*:\s*(?:$string|(true|false|null|[-+.0-9eE]+))/gc) {
            my ($name, $quoted, $bare) = ($1, $2, $3);
            next if plain($name) ne $key;
            my $value = defined $quoted ? plain($quoted) : $bare eq "null" ? "" : $bare;
            utf8::encode($value);
            print $value;
            last;
        }
    ' "$1" "$APPSTORE/inputs.json")
    if [ -z "$value" ]; then
        [ $# -gt 1 ] || fail "the input '$1' is missing"
        value=$2
    fi
    printf '%s' "$value"
}

# fact KEY VALUE: something found out here that outputs can show as facts.KEY. Never a secret.
fact() {
    printf '%s=%s\n' "$1" "$2" >>"$APPSTORE/outputs.env"
}

# apt_get ARGUMENT...: apt-get that waits for a lock, tries downloads again and asks nothing.
apt_get() {
    NEEDRESTART_MODE=a apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" </dev/null
}

# apt_update: refreshes the package lists, unless that was done a few minutes ago and no repository was added since.
apt_update() {
    [ "${APT_UPDATED:-}" != yes ] || return 0
    if [ "${APT_UPDATED:-}" = stale ] || ! compgen -G '/var/lib/apt/lists/*_InRelease' >/dev/null \
        || [ -z "$(find /var/lib/apt/lists/partial -maxdepth 0 -mmin -10 2>/dev/null)" ]; then
        say "Refreshing the package lists"
        apt_get update >/dev/null
    fi
    APT_UPDATED=yes
}

# apt_install PACKAGE[=VERSION]...: installs packages without what they merely recommend.
apt_install() {
    apt_update
    say "Installing $*"
    apt_get install --no-install-recommends "$@" | grep -E '^(Setting up|[EW]:)' || [ "${PIPESTATUS[0]}" = 0 ]
}

# apt_upgrade PACKAGE...: brings installed packages to the newest version that their sources offer.
apt_upgrade() {
    apt_update
    say "Upgrading $*"
    apt_get install --only-upgrade --no-install-recommends "$@" | grep -E '^(Setting up|[EW]:)' || [ "${PIPESTATUS[0]}" = 0 ]
}

# fetch URL SHA256 FILE: downloads a file over HTTPS; it exists afterwards only if it is exactly the expected one.
fetch() {
    local url=$1 sum=$2 file=$3
    if [ -f "$file" ] && printf '%s  %s\n' "$sum" "$file" | sha256sum --check --status; then
        return 0
    fi
    command -v curl >/dev/null || apt_install curl ca-certificates
    say "Downloading $url"
    curl --fail --silent --show-error --location --proto '=https' --tlsv1.2 --retry 3 --output "$file.part" "$url"
    printf '%s  %s\n' "$sum" "$file.part" | sha256sum --check --status || {
        printf 'got  %s\nwant %s\n' "$(sha256sum "$file.part" | cut -d ' ' -f 1)" "$sum" >&2
        rm -f "$file.part"
        fail "$url is not the file that was expected; nothing of it is used"
    }
    mv "$file.part" "$file"
}

# apt_repository NAME KEY-URL FINGERPRINT SOURCE PACKAGE...: adds a vendor's repository for the named packages only
# (patterns as in apt_preferences). SOURCE is "URL SUITE COMPONENT...". The key must have exactly this fingerprint.
apt_repository() {
    local name=$1 url=$2 fingerprint=$3 source=$4 home host
    shift 4
    if ! command -v curl >/dev/null || ! command -v gpg >/dev/null; then
        apt_install curl ca-certificates gpg
    fi
    say "Adding the package repository '$name'"
    home=$(mktemp -d)
    curl --fail --silent --show-error --location --proto '=https' --tlsv1.2 --retry 3 --output "$home/key" "$url"
    gpg --homedir "$home" --batch --no-autostart --quiet --import "$home/key" 2>/dev/null || fail "$url is not a key"
    gpg --homedir "$home" --batch --no-autostart --with-colons --list-keys | grep -q "^fpr:*$fingerprint:" || {
        rm -rf "$home"
        fail "$url does not hold the key $fingerprint; the vendor may have a new one: check before trusting it"
    }
    mkdir -p /etc/apt/keyrings
    # The pinned key alone, whatever else the file held.
    gpg --homedir "$home" --batch --no-autostart --yes --export --output "/etc/apt/keyrings/$name.gpg" "$fingerprint"
    chmod 644 "/etc/apt/keyrings/$name.gpg"
    rm -rf "$home"
    printf 'deb [signed-by=/etc/apt/keyrings/%s.gpg] %s\n' "$name" "$source" >"/etc/apt/sources.list.d/$name.list"
    host=${source#*://}
    host=${host%%/*}
    host=${host%% *}
    {
        printf 'Package: *\nPin: origin "%s"\nPin-Priority: -1\n\n' "$host"
        printf 'Package: %s\nPin: origin "%s"\nPin-Priority: 500\n' "$*" "$host"
    } >"/etc/apt/preferences.d/$name"
    APT_UPDATED=stale
}

# write_file PATH MODE [OWNER[:GROUP]]: puts standard input there in one step, so that no half file is ever seen.
write_file() {
    local path=$1 mode=$2 owner=${3:-root:root} new
    mkdir -p "$(dirname "$path")"
    new=$(mktemp "$path.XXXXXX")
    cat >"$new"
    chown "$owner" "$new"
    chmod "$mode" "$new"
    mv -f "$new" "$path"
}

# system_user NAME HOME: a user without login for a service.
system_user() {
    getent passwd "$1" >/dev/null || useradd --system --user-group --home-dir "$2" --shell /usr/sbin/nologin "$1"
}

# enable_unit UNIT...: starts units now and at each boot; those that run already are restarted with their new files.
enable_unit() {
    systemctl daemon-reload
    systemctl enable --quiet "$@"
    systemctl restart "$@"
}

# wait_for SECONDS COMMAND...: waits until a command succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 1
    done
}

# html TEXT: the text as it may stand in a page.
html() {
    printf '%s' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'
}

# env_line NAME VALUE: a line for a unit's EnvironmentFile=, quoted as systemd reads it.
env_line() {
    case "$2" in *$'\n'*) fail "the value of $1 has more than one line" ;; esac
    printf '%s="%s"\n' "$1" "$(printf '%s' "$2" | sed 's/[\\"`$]/\\&/g')"
}

# gpu_user USER: lets a service's user open the GPUs that the container was given.
gpu_user() {
    local group
    for group in render video; do
        if getent group "$group" >/dev/null; then usermod --append --groups "$group" "$1"; fi
    done
}

# nvidia_libraries [SHA256]: installs NVIDIA's user land in exactly the version of the node's driver, as it must be. From
# Debian when it has that version, else from NVIDIA's installer, whose checksum the operator gives.
nvidia_libraries() {
    local sum=${1:-} version full
    [ -e /proc/driver/nvidia/version ] || { say "No NVIDIA driver on the node; nothing to install for it"; return 0; }
    version=$(grep -oE '[0-9]{3}\.[0-9]+(\.[0-9]+)?' /proc/driver/nvidia/version | head -n 1)
    say "The node's NVIDIA driver is $version"
    if command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | grep -qx "$version"; then
        say "Its libraries are installed already"
        return 0
    fi
    # The base sources, once more with the component that has NVIDIA's packages.
    sed -nE 's/^deb (.*) main.*/deb \1 non-free/p' /etc/apt/sources.list >/etc/apt/sources.list.d/non-free.list
    APT_UPDATED=stale
    apt_update
    full=$(apt-cache madison libcuda1 | awk -v v="$version-" 'index($3, v) == 1 { print $3; exit }')
    if [ -n "$full" ]; then
        apt_install "libcuda1=$full" "libnvidia-encode1=$full" "nvidia-smi=$full"
    elif [ -n "$sum" ]; then
        fetch "https://us.download.nvidia.com/XFree86/Linux-x86_64/$version/NVIDIA-Linux-x86_64-$version.run" "$sum" /var/tmp/nvidia.run
        apt_install kmod
        say "Installing NVIDIA's libraries $version"
        sh /var/tmp/nvidia.run --silent --no-kernel-module --no-x-check --no-nouveau-check --no-questions >/dev/null
        rm -f /var/tmp/nvidia.run
    else
        fail "Debian has no NVIDIA libraries $version: give the SHA-256 of NVIDIA-Linux-x86_64-$version.run, or install another driver on the node"
    fi
    nvidia-smi >/dev/null || fail "nvidia-smi does not work in the container"
}
