"""The examples, as the processes that they are: each checks itself, and says by its exit status whether all was
as it should be."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import brigade
import pytest
from programs import BUILDING, EXE, LIMIT, ROOT, TARGET, C, Program, cargo, rust

EXAMPLES = ROOT / "python" / "examples"

pytestmark = pytest.mark.timeout(BUILDING)


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> C:
    return C(tmp_path_factory.mktemp("c"))


def script(example: str, *arguments: str | Path) -> Program:
    return Program([sys.executable, "-P", EXAMPLES / example, *arguments])


Script = Callable[..., Program]

LANGUAGES = ("python", "c", "rust")


@pytest.mark.parametrize(("camera", "encoder"), [*itertools.product(LANGUAGES, repeat=2)])
def test_any_camera_works_with_any_encoder(
    camera: str, encoder: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    def start(example: str, language: str, *arguments: str) -> Program:
        name = tmp_path / "name"
        if language == "python":
            return script(f"{example}.py", name, *arguments)
        if language == "rust":
            return Program([rust("camera"), name, "60"])
        c: C = request.getfixturevalue("c")
        return Program([c.compile(f"c/examples/{example}.c"), name, *arguments], **c.libraries)

    with start("camera", camera) as records:
        # In Rust, whoever comes first is the camera.
        while not any(tmp_path.iterdir()):
            assert records.process.poll() is None, records.end()
            time.sleep(0.01)
        with start("encoder", encoder, "60") as encodes:
            assert "skipped, 2 key frames" in encodes.end()
        assert "frames made" in records.end()


def test_what_numpy_computes_is_summed_up_by_c(c: C, tmp_path: Path) -> None:
    with (
        script("waves.py", tmp_path / "name", "20") as produces,
        Program([c.compile("c/examples/waves.c"), tmp_path / "name"], **c.libraries) as sums,
    ):
        assert sums.end() == produces.end() != ""


def test_record_batches_of_a_rust_process_are_read_where_they_lie(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    cargo("build", "--manifest-path", "python/examples/batches/Cargo.toml")
    with (
        Program([TARGET / "debug" / f"batches{EXE}", tmp_path / "name"]) as produces,
        script("batches.py", tmp_path / "name") as consumes,
    ):
        assert "batches: 10000000 rows" in consumes.end()
        assert "sent 10000000 rows" in produces.end()


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """Starts an example by a Python that has PyTorch."""
    # This package alone: what else is installed here may not be for that Python.
    place = tmp_path_factory.mktemp("torch")
    shutil.copytree(Path(brigade.__file__).parent, place / "brigade")
    environment = {"PYTHONPATH": str(place)}
    for python in filter(os.path.exists, (sys.executable, "/usr/bin/python3")):
        with Program([python, "-P", "-c", "import torch, brigade"], **environment) as found:
            if found.process.wait(LIMIT) == 0:
                return lambda *words: Program([python, "-P", EXAMPLES / words[0], *words[1:]], **environment)
    pytest.skip("there is no PyTorch")


def test_a_worker_hands_batches_to_pytorch_and_its_death_is_an_exception(with_torch: Script) -> None:
    with with_torch("batches_torch.py", "2") as trains:
        said = trains.end()
    assert "epoch 1, brigade: loss" in said and "epoch 1, DataLoader: loss" in said
    assert "brigade, its worker killed: PartnerDied: " in said
