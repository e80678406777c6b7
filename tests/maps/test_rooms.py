"""Packages of maps import only from those before them, as the docstring of `maps` lists them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MAPS = Path(__file__).parents[2] / "archipmigrate" / "maps"
ORDER = ["format", "journal", "blocker", "survey", "jobs"]
ORDER += ["settings", "locate", "open", "report", "kind"]


def room_of(path: Path) -> str:
    return path.relative_to(MAPS).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(MAPS.rglob("*.py")), ids=lambda p: str(p.relative_to(MAPS)))
def test_imports_point_to_earlier_packages(path: Path) -> None:
    room, depth = room_of(path), len(path.relative_to(MAPS).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth and node.module:
            other = node.module.split(".")[0]
            assert ORDER.index(other) < ORDER.index(room), f"{room} imports {other}"


def test_order_has_every_package() -> None:
    assert {room_of(path) for path in MAPS.rglob("*.py")} == {*ORDER, "__init__"}
