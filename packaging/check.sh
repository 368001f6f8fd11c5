#!/usr/bin/env bash
# What a package needs is in both crates and gets installed; the manual page is sound.
#
#   cargo build && packaging/check.sh target/debug/brigade
set -euo pipefail
cd "$(dirname "$0")/.."
program=$PWD/${1:?which program?}

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

fail() {
    echo "packaging/check.sh: $*" >&2
    exit 1
}

built=target/packaging
rm -rf "$built/package"
cargo package --quiet --locked --allow-dirty --workspace --no-verify --target-dir "$built"
for crate in brigade brigade-cli brigade-c brigade-tokio; do
    tar -xzf "$built/package/$crate"-[0-9]*.crate -C "$work"
    packed=$(echo "$work/$crate"-[0-9]*)
    for file in LICENSE-MIT LICENSE-APACHE; do
        cmp "$file" "$packed/$file" || fail "$crate: $file is not the project's"
        [ -f "$packed/$file" ] && [ ! -h "$packed/$file" ] || fail "$crate: $file is a link"
    done
done
# What was packed builds without the rest of the project. Not by cargo's own check: it
# would take the library from a cache, as it was packed the first time.
cat >"$work/Cargo.toml" <<END
[workspace]
resolver = "3"
members = ["brigade-[0-9]*", "brigade-cli-[0-9]*", "brigade-c-[0-9]*", "brigade-tokio-[0-9]*"]
[patch.crates-io]
brigade = { path = "$(cd "$work" && echo brigade-[0-9]*)" }
END
cp Cargo.lock "$work"
cargo check --quiet --locked --manifest-path "$work/Cargo.toml" --target-dir "$built"

cmp lib/README.md "$work"/brigade-[0-9]*/README.md || fail "brigade: not the library's README"
cmp c/README.md "$work"/brigade-c-[0-9]*/README.md || fail "brigade-c: not its README"
cmp README.md "$work"/brigade-cli-[0-9]*/README.md || fail "brigade-cli: not the program's README"

BRIGADE=$program PREFIX=/usr DESTDIR=$work/root packaging/install.sh
for file in bin/brigade share/man/man1/brigade.1 share/bash-completion/completions/brigade \
    share/zsh/site-functions/_brigade share/fish/vendor_completions.d/brigade.fish \
    share/doc/brigade/LICENSE-MIT share/doc/brigade/LICENSE-APACHE; do
    [ -s "$work/root/usr/$file" ] || fail "not installed: $file"
done
bash -c "source $work/root/usr/share/bash-completion/completions/brigade && complete -p brigade" \
    >/dev/null || fail "the completions for bash do not load"

if command -v mandoc >/dev/null; then
    mandoc -T lint "$work/root/usr/share/man/man1/brigade.1" || fail "the manual page has faults"
else
    echo "skipped: the manual page is not checked, there is no mandoc"
fi
