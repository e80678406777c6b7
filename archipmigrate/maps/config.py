"""The blockers, as v0.4's `archipelago.conf` describes them. Pure: text in, settings out.

The file is read as v0.4 reads it (`loadrc` and `createDict` of python/archipelago/common.py), but
a missing option has v0.4's default even where v0.4 itself would refuse to start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError
from .ini import Ini

OF_MAPS, OF_BLOCKS = "blockerm", "blockerb"  # sections
FILES, RADOS = "file_blocker", "rados_blocker"
DIRECTORIES = {OF_MAPS: "/srv/archip/maps", OF_BLOCKS: "/srv/archip/blocks"}
WHAT = {OF_MAPS: "maps", OF_BLOCKS: "blocks"}
OWNER = "archipelago"
UMASK = "0o007"
# What Python 2's int(text, 0) takes: 007 is octal, and so is 0o007, but 22 is decimal.
NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*|0", re.ASCII)
LEADING_ZERO = re.compile(r"0[0-7]+", re.ASCII)
HIGHEST_UMASK = 0o777


@dataclass(frozen=True, slots=True)
class BlockerConfig:
    """A blocker: its directories, the owner and umask of its files, its name in locks.

    Without `lock_dir`, locks lie in `archip_dir`. `unique_str` is what it writes into locks; None
    is v0.4's default, the host's name and the blocker's port. `kind` is the blocker's type.
    `blocks_dir` is the directory of the blocker of objects; None if it is not configured, or if
    objects are no files.
    """

    archip_dir: str
    lock_dir: str | None
    user: str
    group: str
    umask: int
    unique_str: str | None
    kind: str
    blocks_dir: str | None = None


def read_config(text: str, section: str = OF_MAPS) -> BlockerConfig:
    """Read a blocker's *section* of the *text* of an `archipelago.conf`.

    Surrogates stand for bytes that are not UTF-8. Raises UsageError on bad syntax (with the line),
    if there is no such section, if the blocker has no files, if a directory is not absolute, and on
    a bad umask. Its text does not name the file.
    """
    ini = Ini(text)
    if section not in ini:
        raise UsageError(f"there is no section [{section}]")
    blocker = _Section(ini, section)
    return BlockerConfig(
        archip_dir=blocker.absolute("archip_dir", blocker.get("archip_dir", DIRECTORIES[section])),
        lock_dir=blocker.absolute("lock_dir", locks)
        if (locks := blocker.get("lock_dir"))
        else None,
        user=_owner(ini, "USER"),
        group=_owner(ini, "GROUP"),
        umask=blocker.umask(blocker.get("umask", UMASK)),
        unique_str=blocker.get("unique_str") or None,
        kind=blocker.kind(blocker.get("type", FILES)),
        blocks_dir=_blocks_dir(ini),
    )


def _blocks_dir(ini: Ini) -> str | None:
    if OF_BLOCKS not in ini or ini.get(OF_BLOCKS, "type") not in (None, FILES):
        return None
    path = ini.get(OF_BLOCKS, "archip_dir") or DIRECTORIES[OF_BLOCKS]
    return path if path.startswith("/") else None


def _owner(ini: Ini, option: str) -> str:
    value = ini.get("ARCHIPELAGO", option)
    if value == "":
        raise UsageError(f"[ARCHIPELAGO] {option} is empty")
    return OWNER if value is None else value


@dataclass(frozen=True, slots=True)
class _Section:
    """The section of a blocker. All methods raise UsageError."""

    ini: Ini
    name: str

    def get(self, option: str, default: str = "") -> str:
        value = self.ini.get(self.name, option)
        return default if value is None else value

    def kind(self, kind: str) -> str:
        what = WHAT[self.name]
        if kind == RADOS:
            raise UsageError(
                f"[{self.name}] type = {RADOS}: {what} in RADOS are not files on a share"
            )
        if kind != FILES:
            raise UsageError(f"[{self.name}] type = {kind!r}: a blocker of {what} is a {FILES}")
        return kind

    def absolute(self, option: str, path: str) -> str:
        if not path.startswith("/"):
            raise UsageError(f"[{self.name}] {option} = {path!r}: not an absolute path")
        return path

    def umask(self, text: str) -> int:
        """Read a umask as v0.4 passes it to `filed`."""
        shown = f"[{self.name}] umask = {text!r}"
        if not NUMBER.fullmatch(text):
            raise UsageError(f"{shown}: not a umask; write it as {UMASK[2:]}")
        umask = int(text, 8) if LEADING_ZERO.fullmatch(text) else int(text, 0)
        if umask > HIGHEST_UMASK:
            raise UsageError(f"{shown}: above 0777")
        # v0.4 takes 0 for "not set", and `filed` then has its own default (PEER_DEFAULT_UMASK).
        return umask or int(UMASK, 0)
