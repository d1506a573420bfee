#!/bin/bash
# The Debian package inside a container: installed, upgraded, run in its sandbox, removed, purged. package.sh VERSION.
# Prints one line for each thing that holds.
# shellcheck disable=SC2015 # the last command of each "A && B || wrong" is the one that may run in any case
set -euo pipefail
version=$1
cd /root/package
state=/var/lib/ironhatch configuration=/etc/ironhatch

ok() { printf 'ok: %s\n' "$1"; }
wrong() { printf 'wrong: %s\n' "$1" >&2; journalctl --no-pager --lines=40 -u ironhatch >&2 || true; exit 1; }
# is WANTED PATH: owner, group and mode.
is() { [ "$(stat -c '%U:%G %a' "$2")" = "$1" ] || wrong "$2 is $(stat -c '%U:%G %a' "$2"), not $1"; }
# until_true WHAT COMMAND...: asks again for up to a minute.
until_true() {
    local what=$1 left=120
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || wrong "$what did not come true"
        sleep 0.5
    done
}
running() { systemctl --quiet is-active ironhatch; }
install_package() { dpkg --force-confold --install "ironhatch_$1_amd64.deb"; }

install_package 0.0.1 >said 2>&1 || { cat said; wrong "the installation failed"; }
grep -q 'ironhatch setup' said || wrong "nothing says what to do next"
getent passwd ironhatch | grep -q nologin || wrong "the user is missing, or can log in"
is root:root\ 755 /usr/bin/ironhatch
is root:root\ 644 /usr/lib/systemd/system/ironhatch.service
is root:ironhatch\ 750 $configuration
is root:ironhatch\ 640 $configuration/ironhatch.toml
is root:ironhatch\ 770 $configuration/server-types
is ironhatch:ironhatch\ 750 $state
is root:root\ 644 /etc/default/ironhatch
! running && ! systemctl --quiet is-enabled ironhatch 2>/dev/null || wrong "it started without a configuration"
ok "files, user and modes are right, and nothing runs"

# Unattended, the package's own set-up.
cat >answers.toml <<'TOML'
interface = "eth0"
mode = "full"
pool = "10.231.0.100-10.231.0.120"
cluster_name = "home"
tls = false
operator_password = "a password for the test"
server_type = { name = "small", disks = ["nvme0n1"] }
TOML
ironhatch_new() { ./new/usr/bin/ironhatch "$@"; }
dpkg-deb --extract "ironhatch_${version}_amd64.deb" new
ironhatch_new setup --answers answers.toml --dry-run >said || { cat said; wrong "the dry run of the set-up failed"; }
grep -q '^+public_url = "http://10.231.0.2:8080"' said && grep -q '^+subnet = "10.231.0.0/24"' said || { cat said; wrong "the set-up does not show what it would change"; }
grep -q 'nobody but this appliance can log in' said || { cat said; wrong "the set-up does not say that nobody could log in"; }
cmp -s $configuration/ironhatch.toml new/etc/ironhatch/ironhatch.toml || wrong "the dry run changed the configuration"
ok "the set-up shows what it would write"

cat >$configuration/ironhatch.toml <<'TOML'
data_dir = "/var/lib/ironhatch"
[server]
listen = "0.0.0.0:8080"
public_url = "http://10.231.0.2:8080"
[pxe]
enabled = true
interface = "eth0"
subnet = "10.231.0.0/24"
mode = "full"
pool = "10.231.0.100-10.231.0.120"
TOML
cp /usr/share/doc/ironhatch/examples/server-types/example-small-nvme.toml $configuration/server-types/small.toml
chgrp ironhatch $configuration/server-types/small.toml
sha256sum $configuration/ironhatch.toml $configuration/server-types/small.toml >configured
install -o ironhatch -g ironhatch -m 0640 v1.redb $state/ironhatch.redb
# The stand-in for the older program notifies through a child.
mkdir -p /run/systemd/system/ironhatch.service.d
printf '[Service]\nNotifyAccess=all\n' >/run/systemd/system/ironhatch.service.d/older.conf
systemctl daemon-reload
systemctl --quiet enable --now ironhatch || wrong "the older version does not start"
rm -r /run/systemd/system/ironhatch.service.d

install_package "$version" >said 2>&1 || { cat said; wrong "the upgrade failed"; }
until_true "the restart by the upgrade" running
pid=$(systemctl show --property MainPID --value ironhatch)
[ "$(readlink "/proc/$pid/exe")" = /usr/bin/ironhatch ] || wrong "another program runs: $(readlink "/proc/$pid/exe")"
sha256sum --quiet --check configured || wrong "the upgrade changed the configuration"
is root:ironhatch\ 640 $configuration/ironhatch.toml
is ironhatch:ironhatch\ 600 $state/ironhatch.redb
ironhatch host show old1 | grep -q 'ready' || wrong "the host of the older database is gone"
ironhatch sighting list | grep -q 52:54:00:aa:bb:02 || wrong "the sighting of the older database is gone"
ironhatch --json db list | grep -q '"schema_left":1' || wrong "no backup was made before the migration"
ok "the upgrade restarts the service, brings the older database forward, and keeps data and configuration"

[ "$(stat -c %U "/proc/$pid")" = ironhatch ] || wrong "it runs as $(stat -c %U "/proc/$pid")"
[ "$(awk '$1 == "CapEff:" { print $2 }' "/proc/$pid/status")" = 0000000000000400 ] || wrong "it has other capabilities than the ports need"
grep -q '^NoNewPrivs:.*1$' "/proc/$pid/status" && grep -q '^Seccomp:.*2$' "/proc/$pid/status" || wrong "the sandbox is not in force"
systemd-analyze security --no-pager --threshold=19 ironhatch.service >said || wrong "exposure: $(tail -n 1 said)"
ok "the daemon works in the sandbox of its unit: $(sed -n 's/.*\(Overall exposure level.*: [0-9.]*\).*/\1/p' said)"

for firmware in bios uefi http; do
    ironhatch doctor --simulate $firmware >said 2>&1 || { cat said; wrong "a $firmware machine does not boot from it"; }
done
ok "DHCP, TFTP and HTTP answer from inside the sandbox: a BIOS, a UEFI and an HTTP boot come through"
code=0
ironhatch --json doctor >said || code=$?
[ $code = 0 ] || [ $code = 8 ] || { cat said; wrong "the doctor in the sandbox ends with $code"; }
logged() { journalctl --no-pager --output=cat --unit=ironhatch "$@"; }
all=$(logged | grep -cE '^ *(WARN|ERROR) ') || true
# A word of systemd's own about the unit is no line of the daemon.
high=$(logged --priority=warning | grep -cE '^ *(WARN|ERROR) ') || true
low=$(logged --priority=warning | grep -cE '^ *INFO ') || true
[ "$all" = "$high" ] && [ "$low" = 0 ] && logged | grep -qE '^ *INFO ' || { logged; wrong "the journal does not know the levels: $all, $high, $low"; }
ok "the journal knows the level of each line ($high warnings)"
ok "the doctor looks from inside the sandbox and finds no error (exit code $code)"

small=$configuration/server-types/small.toml
mode=$(stat -c %a $small)
cp $small before.toml
{ cat $small; echo '# edited'; } >edited.toml
for text in edited before; do
    hash=$(ironhatch --json server-type show small | sed -n 's/.*"hash":"\([0-9a-f]*\)".*/\1/p')
    ironhatch server-type put small $text.toml --replaces "$hash" >said 2>&1 || { cat said; wrong "a server type cannot be edited in the sandbox"; }
    cmp -s $text.toml $small || wrong "the edited server type is not in its place"
    [ "$(stat -c %a $small)" = "$mode" ] || wrong "the edited server type has another mode"
done
ok "a server type is edited from inside the sandbox, and put back"

install_package "$version" >said 2>&1 || { cat said; wrong "the second installation failed"; }
/var/lib/dpkg/info/ironhatch.postinst configure "$version"
until_true "the restart by the second installation" running
ironhatch host show old1 | grep -q 'ready' || wrong "the second installation lost the host"
sha256sum --quiet --check configured || wrong "the second installation changed the configuration"
ok "installing once more changes nothing"

ironhatch setup --answers answers.toml >said 2>&1 || { cat said; wrong "the set-up failed"; }
grep -q 'the operator password is set' said || { cat said; wrong "the set-up did not set the password"; }
running && systemctl --quiet is-enabled ironhatch || wrong "the set-up did not start the service"
is root:ironhatch\ 640 $configuration/ironhatch.toml
ironhatch host show old1 | grep -q 'ready' || wrong "the set-up lost the host"
ironhatch setup --answers answers.toml >said 2>&1 || { cat said; wrong "the second set-up failed"; }
grep -q 'as they should be already' said && grep -q 'was set before and stays' said || { cat said; wrong "the second set-up changed something"; }
ok "the set-up from a file of answers configures, starts the service and sets the password, once"
sha256sum $configuration/ironhatch.toml $configuration/server-types/small.toml >configured

echo mine >$state/mine
dpkg --remove ironhatch >said 2>&1 || { cat said; wrong "removing failed"; }
! running && [ -s $state/ironhatch.redb ] && [ -s $state/master.key ] || wrong "removing took data, or left it running"
sha256sum --quiet --check configured || wrong "removing took the configuration"
[ ! -e /usr/bin/ironhatch ] || wrong "removing left the program"
ok "remove stops the service and keeps data and configuration"

install_package "$version" >said 2>&1 || { cat said; wrong "installing after a removal failed"; }
systemctl --quiet enable --now ironhatch || wrong "it does not start after a removal"
ironhatch host show old1 | grep -q 'ready' || wrong "the data is not used after a removal"

mkdir -p $configuration/answer-templates
echo mine >$configuration/answer-templates/mine.toml
dpkg --purge ironhatch >said 2>&1 || { cat said; wrong "the purge failed"; }
for path in $state/ironhatch.redb $state/backups $state/master.key $configuration/server-types; do
    [ ! -e "$path" ] || wrong "the purge left $path"
    grep -q "$path" said || wrong "the purge did not say that it removes $path"
done
# A conffile: dpkg takes it away by itself.
[ ! -e $configuration/ironhatch.toml ] || wrong "the purge left the configuration"
[ "$(cat $state/mine)" = mine ] && [ "$(ls -A $state)" = mine ] || wrong "the purge left or took the wrong things: $(ls -A $state)"
[ "$(cd $configuration && find . -type f)" = ./answer-templates/mine.toml ] || wrong "the purge took the operator's template, or left more: $(ls -AR $configuration)"
grep -q "$state stays" said || wrong "the purge did not say what stays"
getent passwd ironhatch >/dev/null || wrong "the user is gone"
ok "purge removes what Ironhatch made, says so, and leaves the rest"
