#!/usr/bin/env bash
# Lints, tests and documentation for Windows on another system; tests run under Wine.
#
#   rustup target add x86_64-pc-windows-gnu; apt install gcc-mingw-w64-x86-64 wine64
#   ci/windows.sh
#
# CARGO names another cargo; CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER what runs a
# program for Windows (`wine`, without it).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=x86_64-pc-windows-gnu
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=${CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER:-wine}
# The compiler may be another one than that for this system.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/windows}

step() { printf '\n== %s\n' "$*"; }

step "lints for Windows"
"$cargo" clippy --locked --target $target --workspace --all-targets -- -D warnings

step "tests for Windows"
# A process that hangs ends this, and is named above.
timeout -k 10 1800 "$cargo" test --locked --target $target --workspace \
    --config "target.$target.runner = ['$PWD/ci/windows-again.sh']"

step "documentation for Windows"
RUSTDOCFLAGS="-D warnings" "$cargo" doc --locked --target $target --workspace --no-deps

# There is no Python to run it with.
step "the package for Python, for Windows"
"$cargo" clippy --locked --target $target --manifest-path python/Cargo.toml -- -D warnings
"$cargo" build --locked --target $target --manifest-path python/Cargo.toml
