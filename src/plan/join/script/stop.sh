# Ends the detached command and everything it started.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
if [ -d /run/systemd/system ]; then
  systemctl stop ironhatch-join.service >/dev/null 2>&1
fi
pid=$(cat /run/join.pid 2>/dev/null)
if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ironhatch-join; then
  kill -TERM "-$pid" 2>/dev/null
  sleep 1
  kill -KILL "-$pid" 2>/dev/null
fi
rm -f /run/join.pid
exit 0
