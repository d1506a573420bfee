#!/bin/sh
# Puts Ironhatch on this machine: binary, systemd unit, user, directories, a configuration to fill in.
# Repeatable: an existing configuration is never overwritten. Run as root from the source tree after `make release`,
# or beside a downloaded binary: install.sh [PATH-TO-BINARY]
set -eu
cd "$(dirname "$0")"
binary=${1:-target/x86_64-unknown-linux-gnu/release/ironhatch}
root=${DESTDIR:-}

say() { echo "install: $*"; }
die() { echo "install: $*" >&2; exit 1; }

[ -x "$binary" ] || die "there is no binary at $binary: run 'make release' first, or name one"
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then die "must be run as root (it writes to /usr/local and /etc)"; fi

install -D -m 0755 "$binary" "$root/usr/local/bin/ironhatch"
say "binary   $root/usr/local/bin/ironhatch ($("$binary" --version))"
install -D -m 0644 systemd/ironhatch.service "$root/etc/systemd/system/ironhatch.service"
install -D -m 0644 systemd/ironhatch.sysusers "$root/usr/lib/sysusers.d/ironhatch.conf"
install -D -m 0644 systemd/ironhatch.tmpfiles "$root/usr/lib/tmpfiles.d/ironhatch.conf"
say "unit     $root/etc/systemd/system/ironhatch.service"

if [ -z "$root" ]; then
    if command -v systemd-sysusers >/dev/null; then systemd-sysusers ironhatch.conf
    elif ! getent passwd ironhatch >/dev/null; then useradd --system --home-dir /var/lib/ironhatch ironhatch; fi
    if command -v systemd-tmpfiles >/dev/null; then systemd-tmpfiles --create ironhatch.conf; fi
fi
mkdir -p "$root/etc/ironhatch/server-types" "$root/etc/ironhatch/answer-templates" "$root/var/lib/ironhatch"

[ -e "$root/etc/default/ironhatch" ] || install -D -m 0644 systemd/ironhatch.default "$root/etc/default/ironhatch"

config="$root/etc/ironhatch/ironhatch.toml"
if [ -e "$config" ]; then
    say "config   $config is there already, left as it is"
else
    install -m 0640 systemd/ironhatch.toml "$config"
    if [ -z "$root" ]; then chgrp ironhatch "$config"; fi
    for file in server-types/*.toml; do
        [ -e "$root/etc/ironhatch/$file" ] || install -m 0644 "$file" "$root/etc/ironhatch/$file.example"
    done
    say "config   $config"
fi
if ! command -v git >/dev/null; then
    if grep -Eq '^[[:space:]]*repository[[:space:]]*=' "$config"; then
        say "WARNING  $config names Git repositories, and git is not installed: install the package git"
    else
        say "note     git is not installed; app catalogs in Git and published services need it"
    fi
fi
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    say "next     run 'ironhatch setup': it configures and starts the service"
else
    say "next     run 'ironhatch setup'"
fi
