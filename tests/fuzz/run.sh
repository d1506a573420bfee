#!/bin/sh
# Runs fuzz targets: tests/fuzz/run.sh SECONDS [TARGET...]. Without targets all of them, one on each processor at a time.
#
# Each target first replays tests/fuzz/found and tests/fuzz/corpus, then mutates them for SECONDS. What it finds is made
# small and kept in the build folder; put it into tests/fuzz/found/TARGET when it is mended, so that it is never lost again.
# With FUZZ_SEED the mutations are the same in each run and begin with the committed inputs only: so it is in `make test`,
# where a discovery by chance would stop work that has nothing to do with it. Without it the seed is random, and inputs that
# reached new code are kept in the build folder for the next run.
# `tests/fuzz/run.sh seeds` writes the corpus anew from the code, `tests/fuzz/run.sh build` only builds.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:?seconds for each target, or 'seeds' or 'build'}
shift

# Only this repository's crates are built again for it: with counters. The rest is what the other tests use. They are built
# whole and seldom, so without what helps the next build and a debugger; a panic tells its line all the same.
CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=none RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz/rustc.sh cargo build --locked --package ironhatch-fuzz
build=${CARGO_TARGET_DIR:-target}
program=$build/x86_64-unknown-linux-gnu/debug/fuzz

if [ "$seconds" = build ]; then exit 0; fi
if [ "$seconds" = seeds ]; then
    exec env FUZZ_SEEDS=tests/fuzz/corpus "$program"
fi

# Databases of the targets; in memory, because every input may write.
scratch=$(mktemp -d -p /dev/shm fuzz-XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# Makes inputs that crashed small: they fail in the same way and have less in them to be understood.
minimise() {
    for file in "$2"crash-*; do
        case $file in *.small) continue ;; esac
        if [ ! -e "$file" ] || [ -e "$file.small" ]; then continue; fi
        FUZZ_TARGET=$1 TMPDIR=$own nice -n 10 "$program" -minimize_crash=1 -max_total_time=30 -timeout=30 -rss_limit_mb=1024 \
            -exact_artifact_path="$file.small" "$file" >"$scratch/minimise.log" 2>&1 || true
        if [ -s "$file.small" ]; then
            echo "$1: smaller ($(wc -c <"$file.small") of $(wc -c <"$file") bytes): $file.small"
        fi
    done
}

# One target with a folder of its own, `own`; fails when the target does.
run() {
    target=$1
    own=$scratch/$target
    crashes=$build/fuzz/$target/crashes/
    if [ -n "${FUZZ_SEED:-}" ]; then grown=$own/corpus; else grown=$build/fuzz/$target/corpus; fi
    mkdir -p "$own" "$grown" "$crashes"
    # New inputs go to the first folder; the committed ones are only read.
    set -- "$grown" "tests/fuzz/corpus/$target"
    [ ! -d "tests/fuzz/found/$target" ] || set -- "$@" "tests/fuzz/found/$target"
    echo "== $target: $seconds s"
    log=$own/log
    # -timeout is the wall's clock for one input, wide enough for a loaded machine; the program itself limits processor time.
    if FUZZ_TARGET=$target TMPDIR=$own nice -n 10 "$program" "$@" \
        -seed="${FUZZ_SEED:-0}" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=1024 -max_len=16384 -len_control=20 -use_value_profile=1 \
        -artifact_prefix="$crashes" -print_final_stats=1 -verbosity=1 >"$log" 2>&1; then
        grep -E '^stat::(number_of_executed_units|peak_rss_mb)' "$log" || true
        rm -rf "$own"
    else
        grep -vE '^#[0-9]+' "$log" | tail -n 60
        echo "$target: failed; the input is in $crashes"
        minimise "$target" "$crashes"
        rm -rf "$own"
        return 1
    fi
}

passed=0 failed=0
# Waits for targets that run in the background, and tells what each said: NUMBER:TARGET...
finish() {
    for one in "$@"; do
        if wait "${one%%:*}"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
        cat "$scratch/${one#*:}.said"
    done
}

if [ $# = 0 ]; then
    for folder in tests/fuzz/corpus/*; do set -- "$@" "${folder##*/}"; done
fi
most=$(nproc)
running="" count=0
for target in "$@"; do
    run "$target" >"$scratch/$target.said" 2>&1 &
    running="$running $!:$target" count=$((count + 1))
    if [ "$count" -ge "$most" ]; then
        # shellcheck disable=SC2086 # words
        finish $running
        running="" count=0
    fi
done
# shellcheck disable=SC2086 # words
finish $running
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
