"""What is printed goes one way, on which nothing that a terminal would obey is left."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "archipmigrate"
PRINTER = PACKAGE / "ui" / "printer.py"
TEXT = PACKAGE / "ui" / "text.py"
# Text of a terminal, commands to copy, JSON for programs: each from one function.
ROOMS_THAT_PRINT = ("ui", "cli", "jobs", "perms", "session", "engine", "testshare")


def calls(path: Path) -> set[str]:
    """Return what a module calls, as it is written: print, json.dumps."""
    return {
        ast.unparse(n.func)
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call)
    }


def modules(*rooms: str) -> list[Path]:
    return sorted(path for room in rooms for path in (PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_only_the_printer_prints(path: Path) -> None:
    ways = {"print", "sys.stdout.write", "sys.stderr.write"}
    assert calls(path) & ways == ({"print"} if path == PRINTER else set())


@pytest.mark.parametrize("path", modules(*ROOMS_THAT_PRINT), ids=str)
def test_json_and_commands_are_written_in_one_place(path: Path) -> None:
    ways = calls(path) & {"json.dumps", "shlex.join", "shlex.quote"}
    assert not ways or path == TEXT
