"""Programs of other languages, made from the project's sources, and processes that run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
"""Where cargo puts what it makes, as long as nobody cleans it."""

EXE = ".exe" if sys.platform == "win32" else ""

LIMIT = 120.0
"""Seconds within which each program has ended."""

BUILDING = 600.0
"""Seconds within which anything is built, and a test that may have to has ended."""


def cargo(*arguments: str) -> None:
    """Runs cargo; without one, or without the sources, the test is skipped."""
    if shutil.which("cargo") is None:
        pytest.skip("there is no cargo")
    if not (ROOT / "Cargo.toml").exists():
        pytest.skip("the sources of the library are not here")
    build(["cargo", *arguments, "--quiet", "--locked", "--target-dir", str(TARGET)])


def build(command: Sequence[str | Path], **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILDING,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}"
    return done.stdout


@cache
def rust(example: str) -> Path:
    """An example of the workspace, as a program: of the whole, whose tests have built most of it."""
    cargo("build", "--workspace", "--example", example)
    return TARGET / "debug" / "examples" / f"{example}{EXE}"


class C:
    """The C library, installed, and programs that are linked with it."""

    def __init__(self, place: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("the C library is installed on Linux only")
        for tool in ("cc", "pkg-config"):
            if shutil.which(tool) is None:
                pytest.skip(f"there is no {tool}")
        self.place = place
        cargo("build", "-p", "brigade-c")
        build(["c/install.sh", place], BRIGADE_LIBRARIES=str(TARGET / "debug"))
        self.libraries = {"LD_LIBRARY_PATH": str(place / "lib")}

    def compile(self, source: str) -> Path:
        program = self.place / Path(source).stem
        if not program.exists():
            flags = build(
                ["pkg-config", "--cflags", "--libs", "brigade"],
                PKG_CONFIG_PATH=str(self.place / "lib" / "pkgconfig"),
            )
            warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
            build(["cc", "-std=gnu99", "-g", "-O1", *warnings, "-o", program, source, *flags.split()])
        return program


class Program:
    """A process, which is ended at the end of `with`."""

    def __init__(self, command: Sequence[str | Path], **environment: str) -> None:
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def hear(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        """Gives it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)

    def end(self, returncode: int = 0) -> str:
        """What it has said and was not heard, once it has ended, as it should."""
        out, _ = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == returncode, f"{self.command}:\n{out}"
        return out
