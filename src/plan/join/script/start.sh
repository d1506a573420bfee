# Starts `pvecm add` ($1 add, $2 member address, $3 own address) or `pvecm create` ($1 create, $2 cluster name, $3 own address)
# so that it survives the end of this connection. Does nothing when it runs already.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
cd / || exit 1
alive() {
  pid=$(cat /run/join.pid 2>/dev/null) && [ -n "$pid" ] && [ ! -e /run/join.rc ] &&
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ironhatch-join
}
if alive; then
  echo started=already
  exit 0
fi
case $1 in
add) set -- pvecm add "$2" --use_ssh 1 --link0 "$3" ;;
create) set -- pvecm create "$2" --link0 "$3" ;;
*) exit 1 ;;
esac
umask 077
rm -f /run/join.rc /run/join.log /run/join.pid
# shellcheck disable=SC2016 # expanded by the inner shell
run='HOME=/root; export HOME; cd /; echo $$ >/run/join.pid
"$@" >/run/join.log 2>&1 </dev/null; echo $? >/run/join.rc.new; mv /run/join.rc.new /run/join.rc'
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
  systemctl reset-failed ironhatch-join.service >/dev/null 2>&1
  systemd-run --quiet --unit=ironhatch-join --collect --property=WorkingDirectory=/ sh -c "$run" ironhatch-join "$@" || exit 1
else
  setsid sh -c "$run" ironhatch-join "$@" </dev/null >/dev/null 2>&1 &
fi
tries=0
until [ -e /run/join.pid ]; do
  tries=$((tries + 1))
  [ "$tries" -le 20 ] || exit 1
  sleep 0.2
done
echo started=yes
