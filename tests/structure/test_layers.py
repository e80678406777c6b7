"""The rooms: imports point downward only, and no module is crowded."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import archipmigrate

PACKAGE = Path(__file__).parents[2] / "archipmigrate"
TESTS = PACKAGE.parent / "tests"
NATIVE = PACKAGE.parent / "native"
BENCHMARKS = PACKAGE.parent / "benchmarks"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the bottom up, as the package's docstring has it: a room imports from those before it.
ROOMS = [
    ("errors", "model"),
    ("modes",),
    ("numerals", "policy", "packed", "config"),
    ("share",),
    ("tree",),
    ("layout",),
    ("backend", "journal"),
    ("engine",),
    ("ui",),
    ("jobs",),
    ("perms", "maps"),
    ("relocate",),
    ("prelink", "locks"),
    ("testshare",),
    ("session",),
    ("check",),
    ("guide",),
    ("cli",),
]
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# An extra each, and the one module that may ask for it.
OPTIONAL = {"sqlalchemy": "maps/journal/pithos.py", "configupdater": "config/edit.py"}
MOST_LINES = 600


def imported_rooms(path: Path) -> set[str]:
    """Return the top-level rooms of this package that a module imports."""
    inside = path.relative_to(PACKAGE).parts
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = inside[: len(inside) - node.level]
            where = [*above, *(node.module.split(".") if node.module else [])]
            names = [where[0]] if where else [alias.name for alias in node.names]
            rooms.update(names)
    return rooms & set(LEVELS)


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a module imports by absolute name."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            packages.add(node.module.split(".")[0])
    return packages


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_rooms_are_those_on_disk_and_those_of_the_docstring() -> None:
    found = {room_of(path) for path in MODULES} - {"__init__", "__main__"}
    lines = re.findall(r"^ {4}(\S.*?) {2,}\S", archipmigrate.__doc__ or "", re.MULTILINE)
    listed = [name.rstrip("/") for line in lines for name in line.split(", ")]
    assert set(LEVELS) == found
    assert sorted(listed) == sorted(found)
    assert [LEVELS[name] for name in listed] == sorted(LEVELS.values()), "not from the bottom up"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    for other in imported_rooms(path) - {room}:
        assert LEVELS[other] <= LEVELS[room], f"{room} imports {other}, which is above it"
        assert LEVELS[other] < LEVELS[room] or room in ("errors", "model", "packed"), (
            f"{room} imports {other}, which is beside it"
        )


def test_trio_is_imported_in_engine_only() -> None:
    rooms = {room_of(path) for path in MODULES if "trio" in imported_packages(path)}
    assert rooms == {"engine"}


def test_argparse_is_imported_in_cli_only() -> None:
    """What is below takes values: it serves programs, too."""
    rooms = {room_of(path) for path in MODULES if "argparse" in imported_packages(path)}
    assert rooms == {"cli"}


def test_run_time_dependencies_are_three() -> None:
    packages = set().union(*(imported_packages(path) for path in MODULES))
    outside = {
        name for name in packages if name not in sys.stdlib_module_names and name != "archipmigrate"
    }
    assert outside - set(OPTIONAL) == {"trio", "tqdm", "xxhash"}


@pytest.mark.parametrize("package", OPTIONAL)
def test_optional_package_is_imported_in_one_module_and_only_when_needed(package: str) -> None:
    importing = [path for path in MODULES if package in imported_packages(path)]
    assert [str(path.relative_to(PACKAGE)) for path in importing] == [OPTIONAL[package]]
    for statement in ast.parse(importing[0].read_text()).body:
        assert not isinstance(statement, ast.Import | ast.ImportFrom) or package not in ast.unparse(
            statement
        )


def test_no_file_is_crowded() -> None:
    rooms = (PACKAGE, NATIVE, TESTS, BENCHMARKS)
    files = [path for room in rooms for end in ("py", "[ch]") for path in room.rglob(f"*.{end}")]
    crowded = {str(p): n for p in files if (n := len(p.read_text().splitlines())) > MOST_LINES}
    assert not crowded
