#!/usr/bin/env bash
# Every test that the documentation names is there, and every link within the project
# leads somewhere.
#
# A test (in Rust or Python) is named `module::name`, where the module is a file or folder of tests; "…" at
# the end stands for the rest of the name.
set -euo pipefail
# "…" is one letter, whatever the language of who runs this.
export LC_ALL=C.UTF-8
cd "$(dirname "$0")/.."

documents=(*.md docs/*.md lib/*.md c/*.md python/*.md tokio/*.md)
failed=0

complain() {
    echo "ci/documents.sh: $*" >&2
    failed=1
}

# Each test as "path name".
tests=$(git ls-files -co --exclude-standard '*.rs' | while read -r file; do
    awk -v file="$file" '
        /#\[test\]/ { is_test = 1; next }
        is_test && match($0, /fn [a-z_0-9]+/) {
            print file, substr($0, RSTART + 3, RLENGTH - 3)
            is_test = 0
        }' "$file"
done
git grep --untracked -oE '^def test_[a-z_0-9]+' -- '*.py' | sed 's/:def / /')

named=0
while IFS=: read -r document test; do
    module=${test%%::*}
    name=${test##*::}
    case $name in
        *…) name="${name%…}[a-z_0-9]*" ;;
    esac
    named=$((named + 1))
    grep -qE "/$module(/[^ ]*)?(\.rs|\.py)? $name\$" <<<"$tests" || complain "$document: no test $test"
done < <(grep -oHE '`[a-z_]+::[a-z_0-9]+…?`' "${documents[@]}" | tr -d '`' |
    grep -vE ':(brigade|std|io)::')
[ "$named" -gt 20 ] || complain "found only $named names of tests: is the pattern still right?"

while IFS=: read -r document link; do
    path=${link%%#*}
    [ -z "$path" ] || [ -e "$(dirname "$document")/$path" ] || complain "$document: no $link"
done < <(grep -oHE '\]\([^)]*\)' "${documents[@]}" | sed -E 's/\]\(([^)]*)\)/\1/' | grep -vE ':[a-z]+://')

exit "$failed"
