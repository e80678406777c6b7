"""Words and numbers for people, and JSON for programs. Pure: values in, strings out."""

from __future__ import annotations

import base64
import errno
import grp
import json
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from functools import cache

from ..model import Examples, Failure

SURROGATES = re.compile("[\ud800-\udfff]+")
ESCAPES = {9: "\\t", 10: "\\n", 13: "\\r", 32: "\\ ", 92: "\\\\"}


def quoted(path: bytes) -> str:
    """Return a path as `ls -b` shows it: unprintable bytes and spaces escaped; the root is `.`."""
    if not path:
        return "."
    characters = path.decode(errors="surrogateescape")
    return "".join(
        c if c.isprintable() and ord(c) not in ESCAPES else _escaped(c) for c in characters
    )


def path_object(path: bytes) -> dict[str, object]:
    """Return a path for JSON; names that are not UTF-8 also in base64."""
    shown = (path or b".").decode(errors="replace")
    if "\ufffd" in shown and shown.encode() != (path or b"."):
        return {"path": shown, "path_b64": base64.b64encode(path).decode()}
    return {"path": shown}


def examples_line(title: str, words: str, found: Examples) -> str:
    """Return a line about entries that have something in common: how many, and which."""
    examples = ", ".join(quoted(path) for path in found.paths)
    more = found.count - len(found.paths)
    return f"{title}: {found.count:,} x {words}: {examples}" + (
        f", and {more:,} more" if more else ""
    )


def printable(words: str) -> str:
    """Return words as one line that no terminal obeys: names may be in them, or what locks hold."""
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else _escaped(c) for c in words)


def _escaped(character: str) -> str:
    return ESCAPES.get(ord(character)) or _octal(character)


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in _raw(character))


def command_line(words: Iterable[str]) -> str:
    r"""Return a command for users to copy: a shell reads *words*, whatever bytes are in them.

    Words that cannot be printed are written as bash, zsh and ksh read them: $'st\033te'.
    """
    return " ".join(shlex.quote(w) if w.isprintable() else _dollar_quoted(w) for w in words)


def _dollar_quoted(word: str) -> str:
    shown = "".join(f"\\{c}" if c in "\\'" else c if c.isprintable() else _octal(c) for c in word)
    return f"$'{shown}'"


def as_json(thing: Mapping[str, object]) -> str:
    """Return one line of JSON that is Unicode text, whatever names are in it.

    What a string has that is no text (PEP 383) becomes replacement characters; NAME_b64 beside it
    then has its bytes.
    """
    line = json.dumps(thing)
    # JSON's escape of a surrogate; also that of other planes' characters, half of which it is.
    return json.dumps(_as_text(thing)) if "\\ud" in line else line


def _as_text(value: object) -> object:
    if isinstance(value, str):
        return SURROGATES.sub(_replaced, value)
    if isinstance(value, Mapping):
        made: dict[object, object] = {}
        for key, item in value.items():
            made[_as_text(key)] = _as_text(item)
            if isinstance(item, str) and SURROGATES.search(item):
                made[f"{key}_b64"] = base64.b64encode(_raw(item)).decode()
        return made
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else value


def _replaced(found: re.Match[str]) -> str:
    return _raw(found[0]).decode(errors="replace")


def _raw(text: str) -> bytes:
    """Return the bytes of a name; what stands for none (a damaged journal's) as UTF-8 would."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


@cache
def group_name(gid: int) -> str:
    """Return a group's name, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


@cache
def user_name(uid: int) -> str:
    """Return a user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


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
