# Prints the state and the log of the detached command. Changes nothing.
say() { printf '%s=%s\n' "$1" "$2"; }
if [ -e /run/join.rc ]; then
  say attempt ended
  say rc "$(cat /run/join.rc)"
elif pid=$(cat /run/join.pid 2>/dev/null) && [ -n "$pid" ] &&
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ironhatch-join; then
  say attempt running
elif [ -e /run/join.rc ]; then
  # It ended between the two looks.
  say attempt ended
  say rc "$(cat /run/join.rc)"
elif [ -e /run/join.log ]; then
  say attempt killed
fi
[ -e /run/join.log ] && tail -n 60 /run/join.log | sed 's/^/log=/'
exit 0
