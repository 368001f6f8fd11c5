#!/usr/bin/env bash
# How fast the ring is from C, against Rust, in turn:
#
#   bench/c.sh [ROUNDS]
#
# prints times of the Rust program and of the C one for each case that both know, and the
# median of the ratios with quartiles: 1 is as fast, and what is below is slower in C.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
c/install.sh "$work"
cc -O2 -o "$work/ring" bench/ring.c -I"$work/include" -L"$work/lib" -lbrigade -Wl,-rpath,"$work/lib"
cargo run --locked --release --manifest-path bench/Cargo.toml -- --against "$work/ring" "${1:-25}" |
    grep -v "ring cannot measure\|^ring measure"
