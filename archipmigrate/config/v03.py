"""v0.3's configuration, `/etc/default/archipelago`: Python 2, read without being executed. Pure.

v0.3 executes the file. Here only assignments of literals count; what is none is told with its line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from ..errors import UsageError
from .ini import BadLine

# Strings and comments, which stay as they are, and the numbers that Python 3 does not read: 0777 is
# octal, and 512L is 512.
TOKEN = re.compile(
    r"""
    (?P<kept> \#[^\n]*
      | (?P<quotes>\"\"\"|''')(?:\\.|(?!(?P=quotes)).)*(?:(?P=quotes)|\Z)
      | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'? )
    | (?<![\w.]) (?P<number>0[xX][0-9a-fA-F]+|[0-9]+) [lL]? (?![\w.])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
OCTAL = re.compile(r"0+[0-7]+", re.ASCII)
# How the bytes of the file become characters and its values bytes again, as Python 2's strings are.
BYTES = "latin-1"

Literal = int | str


@dataclass(frozen=True, slots=True)
class Assigned:
    """A name that is given a value, and where: None if it is no literal, then `source` is shown."""

    line: int
    value: Literal | None
    source: str = ""


@dataclass(slots=True)
class V03Config:
    """The names of a file, each as it is assigned last; `other` are lines that assign none."""

    names: dict[str, Assigned] = field(default_factory=dict)
    other: list[tuple[int, str]] = field(default_factory=list)


def read_v03(content: bytes) -> V03Config:
    """Read a file. Raises UsageError with the line if it is not Python, not even Python 2.

    Strings are as the INI reader has them: surrogates stand for bytes that are not UTF-8.
    """
    if b"\0" in content:
        raise BadLine(content[: content.index(b"\0")].count(b"\n") + 1, "there is a NUL in it")
    source = content.decode(BYTES).replace("\r\n", "\n")
    config = V03Config()
    for statement in _parsed(TOKEN.sub(_in_python_3, source)).body:
        _take(statement, config, source.split("\n"))
    return config


def _in_python_3(found: re.Match[str]) -> str:
    digits = found["number"]
    if digits is None:
        return found[0]
    return f"0o{digits}" if OCTAL.fullmatch(digits) else digits


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        line = min(error.lineno or 1, source.count("\n") + 1)
        shown = ascii(source.split("\n")[line - 1].strip()[:100])
        raise BadLine(line, f"{shown} is no assignment of Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise UsageError("nested so deeply that it is no configuration") from None


def _take(statement: ast.stmt, config: V03Config, lines: list[str]) -> None:
    source = ascii(lines[statement.lineno - 1].strip()[:100])
    match statement:
        case ast.Assign(targets=targets) if all(isinstance(t, ast.Name) for t in targets):
            assigned = Assigned(statement.lineno, _literal(statement.value), source)
            config.names.update({t.id: assigned for t in targets if isinstance(t, ast.Name)})
        case ast.Expr(value=ast.Constant()) | ast.Pass():
            pass
        case _:
            config.other.append((statement.lineno, source))
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                    config.names[node.id] = Assigned(node.lineno, None, source)


def _literal(node: ast.expr) -> Literal | None:
    """Return the value of a number or a string; None for everything else."""
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int(number)):
            return number if number.bit_length() < 64 else None
        case ast.Constant(value=str(characters)):
            try:
                return characters.encode(BYTES).decode("utf-8", "surrogateescape")
            except UnicodeEncodeError:  # a u"..." with other characters: v0.3 needs bytes
                return None
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number if number.bit_length() < 64 else None
    return None
