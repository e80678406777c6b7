"""Modes as chmod(1) reads them, for directories and for files. Pure: no file is touched here.

The grammar and its meaning are those of GNU chmod (gnulib's modechange.c): clauses with commas
between them, `[ugoa]+([-+=]([rwxXst]*|[ugo]))+` or `[-+=]OCTAL`, or one octal number. As there,
set-id bits of directories stay unless they are named, by `s` or by a number of five digits or more.
A clause that does not say for whom (`+w`) is refused: chmod would ask the umask, which need not be
the same where a run is resumed.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

ALL = 0o7777
SET_ID = stat.S_ISUID | stat.S_ISGID
ANY_EXECUTE = 0o111
WHO = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": ALL}
BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": SET_ID, "t": stat.S_ISVTX, "X": 0}
COPIED = {"u": 0o700, "g": 0o070, "o": 0o007}
CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)|([-+=])([0-7]+)")
ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")
PART = re.compile(r"(?:([df]):)?(\S+)")
GUIDE_TEXT = "d:g+rwxs f:g+rw"


class Source(Enum):
    """Where the bits of an action come from."""

    GIVEN = "given"
    COPIED = "copied"  # from those that the entry has for others
    IF_EXECUTABLE = "X"  # and x for directories, and for what anybody may execute


@dataclass(frozen=True, slots=True)
class Action:
    """One of `-+=`; `mentioned` are the bits by which those of a directory are set-id, too."""

    sign: str
    affected: int
    value: int
    mentioned: int
    source: Source = Source.GIVEN

    def on(self, mode: int, *, directory: bool) -> int:
        """Return the mode after this action."""
        kept = SET_ID & ~self.mentioned if directory else 0
        value = self.value
        if self.source is Source.COPIED:
            value &= mode
            value = sum(bits for bits in (0o444, 0o222, 0o111) if value & bits)
        elif self.source is Source.IF_EXECUTABLE and (directory or mode & ANY_EXECUTE):
            value |= ANY_EXECUTE
        value &= self.affected & ~kept
        if self.sign == "+":
            return mode | value
        if self.sign == "-":
            return mode & ~value
        return mode & (~self.affected | kept) | value


@dataclass(frozen=True, slots=True)
class Modes:
    """What becomes of the permission bits of directories, and of files; () leaves them."""

    directories: tuple[Action, ...]
    files: tuple[Action, ...]

    def changed(self, mode: int) -> int:
        """Return the mode (type included) that chmod would give to an entry of this mode."""
        directory = stat.S_ISDIR(mode)
        kind, mode = mode & ~ALL, mode & ALL
        for action in self.directories if directory else self.files:
            mode = action.on(mode, directory=directory)
        return kind | mode


def read_mode(text: str) -> tuple[Action, ...]:
    """Read a mode of chmod's. Raises ValueError."""
    if re.fullmatch("[0-7]+", text):
        return (_octal("=", text, named=ALL if len(text) > 4 else 0),)
    return tuple(action for clause in text.split(",") for action in _read_clause(clause))


def _read_clause(clause: str) -> Iterator[Action]:
    found = CLAUSE.fullmatch(clause)
    if found is None:
        raise ValueError(f"{clause!r} is no mode of chmod's, such as g+rwX, o=, g=u or 0660")
    who, actions, sign, octal = found.groups()
    if octal:
        yield _octal(sign, octal, named=ALL)
        return
    if not who:
        raise ValueError(f"{clause!r}: say for whom, as in a{clause} or g{clause}")
    affected = 0
    for letter in who:
        affected |= WHO[letter]
    for sign, letters in ACTION.findall(actions):
        if letters in COPIED:
            value = COPIED[letters]
            yield Action(sign, affected, value, affected & value, Source.COPIED)
            continue
        value = 0
        for letter in letters:
            value |= BITS[letter]
        source = Source.IF_EXECUTABLE if "X" in letters else Source.GIVEN
        yield Action(sign, affected, value, affected & value, source)


def _octal(sign: str, digits: str, named: int) -> Action:
    value = int(digits, 8)
    if value > ALL:
        raise ValueError(f"{digits}: modes end at 7777")
    return Action(sign, ALL, value, named or value | ALL & ~SET_ID)


@lru_cache(maxsize=8)
def read_modes(text: str) -> Modes:
    """Read modes of directories (`d:MODE`) and files (`f:MODE`), or one for both, by spaces apart.

    A kind that has none keeps its modes. Raises ValueError, also for a mode that would change an
    entry again when it is repeated, or gives set-id bits to files: no entry could ever comply.
    """
    read: dict[str, tuple[Action, ...]] = {}
    for kinds, mode in PART.findall(text):
        actions = read_mode(mode)
        for kind in kinds or "df":
            if kind in read:
                raise ValueError(f"there are two modes for {_NAMES[kind]}")
            read[kind] = actions
    if not read:
        raise ValueError("there is no mode in it")
    modes = Modes(read.get("d", ()), read.get("f", ()))
    if text != GUIDE_TEXT:
        _check(modes)
    return modes


_NAMES = {"d": "directories", "f": "files"}


def _check(modes: Modes) -> None:
    for mode in range(ALL + 1):
        for kind, entry in (("d", stat.S_IFDIR | mode), ("f", stat.S_IFREG | mode)):
            once = modes.changed(entry)
            twice = modes.changed(once)
            if once != twice:
                raise ValueError(
                    f"of {_NAMES[kind]} it makes {mode:04o} first {once & ALL:04o}, and "
                    f"{twice & ALL:04o} if it is repeated: give a mode that can be checked"
                )
            if kind == "f" and once & ~entry & SET_ID:
                raise ValueError(
                    f"it makes a file of mode {mode:04o} set-id, {once & ALL:04o}: that is for "
                    "single programs, not for all files of a share; say d: for directories"
                )


GUIDE = read_modes(GUIDE_TEXT)
