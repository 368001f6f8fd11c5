#!/usr/bin/env bash
# Runs a test program for Windows, and what failed in it once more if Wine could not start a
# process meanwhile: it then has no room where a library has to be, and the process ends before
# its first instruction (c0000142), cannot be made ("internal error", 1359), or says nothing.
#
#   ci/windows-again.sh PROGRAM.exe [ARGUMENT...]
set -uo pipefail

runner=${CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER:-wine}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

"$runner" "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
[ "$code" != 0 ] || exit 0
if [ -s "$log" ]; then
    grep -qE -- '-1073741502|3221225794|0xc0000142|os error 1359' "$log" || exit "$code"
fi

# The last list of names is that of what failed; without one it is no program of tests.
mapfile -t failed < <(sed -n '/^failures:/,$ s/^    \([A-Za-z0-9_:]*\)$/\1/p' "$log" | sort -u)
printf '\n== Wine could not start a process; once more: %s %s\n' "$1" "${failed[*]}"
[ ${#failed[@]} = 0 ] || set -- "$@" --exact "${failed[@]}"
"$runner" "$@"
