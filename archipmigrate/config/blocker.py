"""The blockers, as v0.4's `archipelago.conf` describes them. Pure: text in, settings out.

The file is read as v0.4 reads it (`loadrc` and `createDict` of python/archipelago/common.py), but
only what a job needs: what else v0.4 would refuse is for `check`. A missing option has the default
of v0.4's package, except for directories: no job guesses where objects are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError
from .ini import BadLine, Ini

OF_MAPS, OF_BLOCKS = "blockerm", "blockerb"  # sections
FILES, RADOS = "file_blocker", "rados_blocker"
WHAT = {OF_MAPS: "maps", OF_BLOCKS: "blocks"}
INSTEAD = {
    OF_MAPS: "/usr/share/archipelago/tools/finalize_upgrade_0.4 of v0.4 converts them",
    OF_BLOCKS: "they have no places, so there is nothing to move",
}
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

    Surrogates stand for bytes that are not UTF-8. Raises UsageError if there is no such section,
    and BadLine on bad syntax, if the blocker has no files, if its directory is missing or not
    absolute, and on a bad umask. Their texts do not name the file.
    """
    ini = Ini(text)
    if section not in ini:
        raise UsageError(f"there is no section [{section}]")
    blocker = _Section(ini, section)
    kind = blocker.kind(blocker.get("type", FILES))
    return BlockerConfig(
        archip_dir=blocker.directory("archip_dir"),
        lock_dir=blocker.directory("lock_dir") if blocker.get("lock_dir") else None,
        user=_owner(ini, "USER"),
        group=_owner(ini, "GROUP"),
        umask=blocker.umask(blocker.get("umask", UMASK)),
        unique_str=blocker.get("unique_str") or None,
        kind=kind,
        blocks_dir=_blocks_dir(ini),
    )


def _blocks_dir(ini: Ini) -> str | None:
    if OF_BLOCKS not in ini or ini.get(OF_BLOCKS, "type") not in (None, FILES):
        return None
    path = ini.get(OF_BLOCKS, "archip_dir")
    return path if path and path.startswith("/") else None


def _owner(ini: Ini, option: str) -> str:
    value = ini.get("ARCHIPELAGO", option)
    if value == "":
        raise BadLine(ini.line("ARCHIPELAGO", option), f"[ARCHIPELAGO] {option} is empty")
    return OWNER if value is None else value


@dataclass(frozen=True, slots=True)
class _Section:
    """The section of a blocker. All methods raise BadLine."""

    ini: Ini
    name: str

    def get(self, option: str, default: str = "") -> str:
        value = self.ini.get(self.name, option)
        return default if value is None else value

    def kind(self, kind: str) -> str:
        what = WHAT[self.name]
        if kind == RADOS:
            words = f" = {RADOS}: {what} in RADOS are not files on a share; {INSTEAD[self.name]}"
            raise self._bad("type", words)
        if kind != FILES:
            raise self._bad("type", f" = {kind!r}: a blocker of {what} is a {FILES}")
        return kind

    def directory(self, option: str) -> str:
        path = self.ini.get(self.name, option)
        if path is None:
            raise self._bad(option, " is missing: v0.4 has no default for it")
        if not path.startswith("/"):
            raise self._bad(option, f" = {path!r}: not an absolute path")
        return path

    def umask(self, text: str) -> int:
        """Read a umask as v0.4 passes it to `filed`."""
        umask = number(text)
        if umask is None:
            raise self._bad("umask", f" = {text!r}: not a umask; write it as {UMASK[2:]}")
        if umask > HIGHEST_UMASK:
            raise self._bad("umask", f" = {text!r}: above 0777")
        # v0.4 takes 0 for "not set", and `filed` then has its own default (PEER_DEFAULT_UMASK).
        return umask or int(UMASK, 0)

    def _bad(self, option: str, what: str) -> BadLine:
        return BadLine(self.ini.line(self.name, option), f"[{self.name}] {option}{what}")


def number(text: str) -> int | None:
    """Return what Python 2's int(text, 0) does, or None where it raises ValueError."""
    if not NUMBER.fullmatch(text):
        return None
    return int(text, 8) if LEADING_ZERO.fullmatch(text) else int(text, 0)
