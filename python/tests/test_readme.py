"""The README's script, word by word, as the two processes that it is for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import LIMIT

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.skipif(sys.platform == "win32", reason="names are where no variable says there")
def test_the_script_of_the_readme_runs_in_two_processes(tmp_path: Path) -> None:
    found = re.search(r"(?m)^ {4}import brigade.*(?:\n(?: {4}.*)?)*", README.read_text())
    assert found
    script = textwrap.dedent(found[0])
    tmp_path.chmod(0o700)
    # A name of its own, whoever else runs the same.
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[0] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [0, 0], said
    expected = "".join(f"{number} {float(number)}\n" for number in range(1000))
    assert sorted(said) == ["", expected]
