# Removes the agent's program at $1 and its folder when that is empty.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
dir=$(dirname "$1")
rm -f "$1" "$dir"/.new.* || exit 1
rmdir "$dir" 2>/dev/null
[ ! -e "$1" ] || exit 1
echo removed=yes
