"""Words and numbers for people. Pure: strings in, strings out."""

from __future__ import annotations

import errno
import grp
import os
import stat
from functools import cache

from ..model import Failure

ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 32: "\\ ", 92: "\\\\"}


def quoted(path: bytes) -> str:
    """Return a path as `ls -b` shows it: unprintable bytes and spaces escaped; the root is `.`."""
    if not path:
        return "."
    characters = path.decode(errors="surrogateescape")
    return "".join(
        c if c.isprintable() and ord(c) not in ESCAPES else _escaped(c) for c in characters
    )


def printable(words: str) -> str:
    """Return words as one line that no terminal obeys: names may be in them, or what locks hold."""
    return "".join(c if c.isprintable() else _escaped(c) for c in words)


def _escaped(character: str) -> str:
    code = ord(character)
    if code in ESCAPES:
        return ESCAPES[code]
    raw = character.encode(errors="surrogateescape")
    return "".join(f"\\{byte:03o}" for byte in raw)


@cache
def group_name(gid: int) -> str:
    """Return a group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def mode_bits(mode: int) -> str:
    """Return the permission bits as chmod takes them: 2770."""
    return f"{stat.S_IMODE(mode):04o}"


def reason(failure: Failure) -> str:
    """Say why something failed: the operation, the error's name and what it means."""
    if not failure.errno:
        return printable(failure.note or failure.operation)
    name = errno.errorcode.get(failure.errno, str(failure.errno))
    meaning = printable(failure.note or os.strerror(failure.errno))
    return f"{failure.operation}: {name} ({meaning})"


def count(number: int, noun: str) -> str:
    """Return "1 file", "1,234 files", "2 directories"."""
    if number != 1:
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun}"


def duration(seconds: float) -> str:
    """Return "4.2 s", "3 min 20 s" or "2 h 05 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
