#!/usr/bin/env bash
# Runs a test program for Windows, and what failed in it once more if Wine could not start a
# process of it: that has no room where a library has to be, and ends before its first instruction
# (c0000142), cannot be made ("internal error", 1359), or says nothing at all. A test that failed
# without a word of that has failed.
#
#   ci/windows-again.sh PROGRAM.exe [ARGUMENT...]
set -uo pipefail

read -ra runner <<<"${CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER:-wine}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Not through a pipe, which somebody who is left over may hold open.
"${runner[@]}" "$@" >"$log" 2>&1 &
tail -n +1 -s 0.1 -f --pid=$! "$log"
wait $!
code=$?
[ "$code" != 0 ] || exit 0

# Each test's own words come below its name; the last list is that of the names of those that failed.
mapfile -t excused < <(awk '/^---- .* stdout ----$/ { name = $2 } /^failures:$/ { name = "" }
    name != "" && /-1073741502|3221225794|0xc0000142|os error 1359/ { print name }' "$log" | sort -u)
mapfile -t failed < <(awk '/^failures:$/ { names = "" } /^    [A-Za-z0-9_:]+$/ { names = names $1 "\n" }
    END { printf "%s", names }' "$log" | sort -u)
if [ -s "$log" ]; then
    [ ${#failed[@]} != 0 ] && [ "${failed[*]}" = "${excused[*]}" ] || exit "$code"
    set -- "$@" --exact "${failed[@]}"
fi
printf '\n== Wine could not start a process; once more: %s\n' "$*"
"${runner[@]}" "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
# A name that fits no test would pass.
[ ${#failed[@]} = 0 ] || grep -q "^running ${#failed[@]} test" "$log" || exit 1
exit "$code"
