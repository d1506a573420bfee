#!/bin/sh
# Compiles this repository's own crates with libFuzzer's coverage counters; dependencies, build scripts included, stay as
# they are for every other build. Cargo calls it as RUSTC_WORKSPACE_WRAPPER: rustc.sh RUSTC ARGUMENTS...
rustc=$1
shift
case " $* " in
    *" --crate-name ironhatch "* | *" --crate-name fuzz "*) ;;
    *) exec "$rustc" "$@" ;;
esac
# libFuzzer's runtime looks for functions of its surroundings at its start, which crashes in a static program.
for argument in "$@"; do
    shift
    [ "$argument" != target-feature=+crt-static ] || argument=target-feature=-crt-static
    set -- "$@" "$argument"
done
exec "$rustc" "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
