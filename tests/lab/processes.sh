# shellcheck shell=bash
# Long-running programs of a run, sourced by run.sh. Each is recorded by process id, and only those are ever ended.

# Starts a program with its output in $RUN/NAME.log and its id in $RUN/pids.
background() { # name, command...
    local name=$1
    shift
    setsid "$@" >"$RUN/$name.log" 2>&1 </dev/null &
    echo "$! $name" >>"$RUN/pids"
}

process_of() { # name -> id of the last one started under it
    awk -v name="$1" '$2 == name { id = $1 } END { if (id) print id; else exit 1 }' "$RUN/pids"
}

is_running() { # name
    local id
    id=$(process_of "$1") && kill -0 "$id" 2>/dev/null
}

# Ends a whole recorded session (a program and what it started), first politely.
end_session() { # id
    local try
    kill -TERM -- "-$1" 2>/dev/null || return 0
    for try in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 -- "-$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null || true
}

end_all() {
    local id
    [ -f "$RUN/pids" ] || return 0
    tac "$RUN/pids" | while read -r id _; do end_session "$id"; done
    rm -f "$RUN/pids"
}
