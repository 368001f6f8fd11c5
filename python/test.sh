#!/usr/bin/env bash
# Builds the one wheel, and tests it with each Python it is for that is found:
#
#   python/test.sh [WHEEL]
#
# with the tests, the examples (those of its page, too), and the types of all. PYTHONS names others to look for
# ("3.11 3.12"). What is made stays in python/target, for the next time.
set -euo pipefail
wheel=${1:+$(realpath "$1")}
cd "$(dirname "$0")"

step() { printf '\n== %s\n' "$*"; }

# The program of a version. What a version manager has put on PATH may not run.
find_python() {
    local program
    for program in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$program" -c '' 2>/dev/null; then
            echo "$program"
            return
        fi
    done
    return 1
}

# A virtual environment: DIRECTORY PYTHON WHAT TO INSTALL...
environment() {
    [ -x "$1/bin/python" ] || "$2" -m venv "$1"
    timeout -k 10 300 "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:3}"
}

versions=()
for version in ${PYTHONS:-3.11 3.12 3.13}; do
    if find_python "$version" >/dev/null; then
        versions+=("$version")
    else
        echo "skipped: Python $version, which is not here"
    fi
done
if [ ${#versions[@]} = 0 ]; then
    echo "skipped: the package for Python, which needs one"
    exit 0
fi

step "the lock, without an interpreter"
# Or else the library beside it would have to be linked to one.
PYO3_BUILD_EXTENSION_MODULE=1 timeout -k 10 600 cargo test --locked --test lock

if [ -z "$wheel" ]; then
    step "the wheel"
    environment target/tools "$(find_python "${versions[-1]}")" 'maturin>=1.9,<2'
    rm -rf target/wheels
    target/tools/bin/maturin build --release --locked --out target/wheels
    wheel=$(realpath target/wheels/*.whl)
fi

# Not from here, also in what the tests start: `brigade` is what was installed, not the folder of its
# sources.
export PYTHONSAFEPATH=1

for version in "${versions[@]}"; do
    step "tests with Python $version"
    home=target/python$version
    environment "$home" "$(find_python "$version")" -r tests/requirements.txt
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$wheel"
    timeout -k 10 1200 "$home/bin/python" -m pytest --doctest-glob='*.md' tests README.md ../docs/python.md
done

step types
"$home/bin/python" -m mypy --strict brigade tests examples/{camera,encoder,waves}.py
# Its tests know what only other systems have.
"$home/bin/python" -m mypy --strict --platform win32 brigade
# It imports from where it is called.
cd target
"python${versions[-1]}/bin/python" -P -m mypy.stubtest --ignore-unused-allowlist \
    --allowlist ../stubtest-allow.txt brigade
