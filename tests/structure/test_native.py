"""The C files: their layers, their map, and what a reader finds at their head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "native"
FILES = sorted(NATIVE.rglob("*.[ch]"))
# C that is no part of the product.
OTHERS = sorted(
    path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.[ch]")
)
MAP = NATIVE / "python" / "native_module.c"
# Folders that the files of a folder may include from, beside their own.
LAYERS = {
    "core": {"core"},
    "mapfile": {"core"},
    "local": {"core"},
    "objects": {"core", "mapfile"},
    "nfs/proto": {"core"},
    "nfs": {"core", "nfs/proto"},
    "python": {"core", "local", "mapfile", "nfs", "nfs/proto", "objects"},
}
INCLUDE = re.compile(r'^#include ["<]([^">]+)[">]', re.MULTILINE)
# An entry of the map: a path, where [ch] is a header and its source.
NAMED = re.compile(r"(?<![\w/])(?:[a-z0-9]+/)+[a-z0-9_]+\.(?:\[ch\]|[ch])(?!\w)")
LONGEST_LINE = 100

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(NATIVE)))


def folder_of(path: Path) -> str:
    return str(path.parent.relative_to(NATIVE))


def head_of(path: Path) -> str:
    """Return the comment that a file opens with; empty if it opens with something else."""
    found = re.match(r"/\*.*?\*/", path.read_text(), re.DOTALL)
    return found[0] if found else ""


@each_file
def test_file_includes_from_its_layers_only(path: Path) -> None:
    folder = folder_of(path)
    included = {name for name in INCLUDE.findall(path.read_text()) if (NATIVE / name).exists()}
    assert {str(Path(name).parent) for name in included} <= LAYERS[folder] | {folder}


def test_python_h_is_included_in_the_modules_only() -> None:
    including = [path for path in FILES if "Python.h" in INCLUDE.findall(path.read_text())]
    assert {folder_of(path) for path in including} == {"python"}


@each_file
def test_file_opens_with_what_it_does(path: Path) -> None:
    assert head_of(path)


def test_map_names_every_file() -> None:
    named = {file for entry in NAMED.findall(head_of(MAP)) for file in NATIVE.glob(entry)}
    assert named == set(FILES)


@pytest.mark.parametrize("path", FILES + OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_is_too_long(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert not [n for n, line in enumerate(lines, 1) if len(line) > LONGEST_LINE]
