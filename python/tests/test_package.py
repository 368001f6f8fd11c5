"""The package is what its stub and its pages say."""

from __future__ import annotations

import ast
import copy
import inspect
import pathlib
import pickle

import brigade
import pytest
from brigade import _brigade
from conftest import Start, join_reader


def test_the_stub_says_what_help_says() -> None:
    """Types and names are compared by mypy's stubtest."""
    stub = ast.parse(pathlib.Path(brigade.__file__).with_name("_brigade.pyi").read_text("utf-8"))
    said = 0
    for item in stub.body:
        items: list[tuple[ast.AST, object]] = []
        if isinstance(item, (ast.ClassDef, ast.FunctionDef)):
            found = getattr(_brigade, item.name)
            items.append((item, found))
            if isinstance(item, ast.ClassDef):
                functions = [part for part in item.body if isinstance(part, ast.FunctionDef)]
                items += [(part, inspect.getattr_static(found, part.name, None)) for part in functions]
        for node, found in items:
            assert isinstance(node, (ast.ClassDef, ast.FunctionDef))
            if doc := ast.get_docstring(node):
                assert inspect.getdoc(found) == doc, (item, node.name)
                said += 1
    assert said > 50


def test_all_that_is_offered_is_there() -> None:
    assert all(getattr(brigade, name) is not None for name in brigade.__all__)
    assert set(_brigade.__all__) <= set(brigade.__all__) | {"Seat", "take"}


def test_ends_and_blocks_are_made_by_joining_alone(name: str, start: Start) -> None:
    other = start('with brigade.join(name, side="writer", **BLOCKS) as writer: say(*writer)')
    with join_reader(name) as reader, reader.empty_block() as block:
        for one in (reader, block, reader.monitor):
            with pytest.raises(TypeError):
                type(one)()
            with pytest.raises(TypeError):
                pickle.dumps(one)
            with pytest.raises(TypeError):
                copy.copy(one)
            with pytest.raises(AttributeError):
                one.attribute = 1  # type: ignore[union-attr]
            with pytest.raises(TypeError):
                type("Sub", (type(one),), {})
    other.end()
