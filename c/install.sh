#!/usr/bin/env bash
# Builds and installs the C library, with cargo alone (Linux):
#
#   c/install.sh PREFIX
#
# installs PREFIX/include/brigade.h, PREFIX/lib/libbrigade.so.0 (and the links to it),
# PREFIX/lib/libbrigade.a and PREFIX/lib/pkgconfig/brigade.pc. DESTDIR is put before it, for
# packages; LIBDIR names another directory than lib below PREFIX; BRIGADE_LIBRARIES names the
# directory where the two libraries are, if they are built already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

prefix=${1:?where to? c/install.sh PREFIX}
case $prefix in
/*) ;;
*) prefix=$PWD/$prefix ;;
esac
libdir=${LIBDIR:-lib}

if [ -n "${BRIGADE_LIBRARIES:-}" ]; then
    built=$BRIGADE_LIBRARIES
else
    cargo build --locked --release --manifest-path "$root/Cargo.toml" -p brigade-c
    built=${CARGO_TARGET_DIR:-$root/target}/release
fi

# That of the interface, as cargo-c takes it.
version=$(sed -n '/^\[package\.metadata\.capi\.library\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/c/Cargo.toml")
[ -n "$version" ] || {
    echo "install.sh: found no version in c/Cargo.toml" >&2
    exit 1
}

to=${DESTDIR:-}$prefix
install -D -m 644 "$root/c/include/brigade.h" "$to/include/brigade.h"
install -D -m 644 "$built/libbrigade.a" "$to/$libdir/libbrigade.a"
install -D -m 755 "$built/libbrigade.so" "$to/$libdir/libbrigade.so.$version"
ln -sf "libbrigade.so.$version" "$to/$libdir/libbrigade.so.${version%%.*}"
ln -sf "libbrigade.so.${version%%.*}" "$to/$libdir/libbrigade.so"
mkdir -p "$to/$libdir/pkgconfig"
cat >"$to/$libdir/pkgconfig/brigade.pc" <<PC
prefix=$prefix
libdir=\${prefix}/$libdir
includedir=\${prefix}/include

Name: brigade
Description: Bulk data between exactly two processes, through shared memory
Version: $version
Libs: -L\${libdir} -lbrigade
Libs.private: -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc
Cflags: -I\${includedir}
PC
