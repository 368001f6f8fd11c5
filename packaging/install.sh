#!/usr/bin/env bash
# Installs the program, its manual page and its completions:
#
#   cargo build --release && packaging/install.sh
#
# PREFIX says where to (/usr/local); DESTDIR is put before it, for packages; BRIGADE
# names another program than target/release/brigade. It has to run on this machine,
# since the manual page and the completions come from it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

program=${BRIGADE:-$root/target/release/brigade}
prefix=${DESTDIR:-}${PREFIX:-/usr/local}

[ -x "$program" ] || {
    echo "install.sh: $program is not there; run: cargo build --release" >&2
    exit 1
}

made=$(mktemp -d)
trap 'rm -r "$made"' EXIT
"$program" --man >"$made/brigade.1"
"$program" --completions bash >"$made/brigade"
"$program" --completions zsh >"$made/_brigade"
"$program" --completions fish >"$made/brigade.fish"

install -D -m 755 "$program" "$prefix/bin/brigade"
install -D -m 644 "$made/brigade.1" "$prefix/share/man/man1/brigade.1"
install -D -m 644 "$made/brigade" "$prefix/share/bash-completion/completions/brigade"
install -D -m 644 "$made/_brigade" "$prefix/share/zsh/site-functions/_brigade"
install -D -m 644 "$made/brigade.fish" "$prefix/share/fish/vendor_completions.d/brigade.fish"
for document in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE; do
    install -D -m 644 "$root/$document" "$prefix/share/doc/brigade/$document"
done
