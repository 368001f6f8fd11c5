#!/usr/bin/env bash
# 1 GiB on tmpfs, copied by brigade and by cp in turn; the ratio of each pair, and
# the memory of each half. Needs GNU time.
#
#   bench/copy.sh [ROUNDS]
set -euo pipefail
rounds=${1:-7}
cd "$(dirname "$0")/.."
cargo build --release --quiet
brigade=$PWD/target/release/brigade
place=$(mktemp -d /dev/shm/brigade-copy.XXXXXX)
trap 'rm -rf "$place"' EXIT
cd "$place"
head -c 1G /dev/urandom >source

seconds() { # of wall time that the command takes
    local start=$EPOCHREALTIME
    "$@"
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}

echo "1 GiB on tmpfs: brigade, cp, brigade / cp"
for _ in $(seq "$rounds"); do
    rm -f copy
    ours=$(seconds "$brigade" --both -q source copy)
    rm -f copy
    theirs=$(seconds cp source copy)
    awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.3f s  %.3f s  %.2f\n", a, b, a / b }'
done | sort -k5 -n
rm -f copy

head -c 1K source >small
start=$EPOCHREALTIME
for _ in $(seq 50); do "$brigade" --both --no-sync -q small copy; done
awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "1 KiB, --both --no-sync: %.1f ms (mean of 50)\n", (b - a) * 20 }'

if [ -x /usr/bin/time ]; then
    export XDG_RUNTIME_DIR=$place
    for _ in 1 2; do
        /usr/bin/time -f "peak memory of a half, with the pool of 4 MiB: %M KiB" "$brigade" -q source copy &
    done
    wait
fi
