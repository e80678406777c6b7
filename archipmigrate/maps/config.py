"""The blocker of maps, as v0.4's `archipelago.conf` describes it. Pure: text in, settings out.

The file is read as v0.4 reads it (`loadrc` and `createDict` of python/archipelago/common.py), but
a missing option has v0.4's default even where v0.4 itself would refuse to start.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError
from .ini import Ini

SECTION, BLOCKS_SECTION = "blockerm", "blockerb"
FILES, RADOS = "file_blocker", "rados_blocker"
MAPS, BLOCKS = "/srv/archip/maps", "/srv/archip/blocks"
OWNER = "archipelago"
UMASK = "0o007"
# What Python 2's int(text, 0) takes: 007 is octal, and so is 0o007, but 22 is decimal.
NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*|0", re.ASCII)
LEADING_ZERO = re.compile(r"0[0-7]+", re.ASCII)
HIGHEST_UMASK = 0o777


@dataclass(frozen=True, slots=True)
class BlockerConfig:
    """The blocker of maps: its directories, the owner and umask of its files, its name in locks.

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


def read_config(text: str) -> BlockerConfig:
    """Read the *text* of an `archipelago.conf`; surrogates stand for bytes that are not UTF-8.

    Raises UsageError on bad syntax (with the line), if there is no section [blockerm], if maps are
    not files, if a directory is not absolute, and on a bad umask. Its text does not name the file.
    """
    ini = Ini(text)
    if SECTION not in ini:
        raise UsageError(f"there is no section [{SECTION}]")
    return BlockerConfig(
        archip_dir=_absolute("archip_dir", _get(ini, "archip_dir", MAPS)),
        lock_dir=_absolute("lock_dir", locks) if (locks := _get(ini, "lock_dir")) else None,
        user=_owner(ini, "USER"),
        group=_owner(ini, "GROUP"),
        umask=_umask(_get(ini, "umask", UMASK)),
        unique_str=_get(ini, "unique_str") or None,
        kind=_kind(_get(ini, "type", FILES)),
        blocks_dir=_blocks_dir(ini),
    )


def _blocks_dir(ini: Ini) -> str | None:
    if BLOCKS_SECTION not in ini or ini.get(BLOCKS_SECTION, "type") not in (None, FILES):
        return None
    path = ini.get(BLOCKS_SECTION, "archip_dir") or BLOCKS
    return path if path.startswith("/") else None


def _get(ini: Ini, option: str, default: str = "") -> str:
    value = ini.get(SECTION, option)
    return default if value is None else value


def _owner(ini: Ini, option: str) -> str:
    value = ini.get("ARCHIPELAGO", option)
    if value == "":
        raise UsageError(f"[ARCHIPELAGO] {option} is empty")
    return OWNER if value is None else value


def _kind(kind: str) -> str:
    if kind == RADOS:
        raise UsageError(f"[{SECTION}] type = {RADOS}: maps in RADOS are not files on a share")
    if kind != FILES:
        raise UsageError(f"[{SECTION}] type = {kind!r}: a blocker of maps is a {FILES}")
    return kind


def _absolute(option: str, path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"[{SECTION}] {option} = {path!r}: not an absolute path")
    return path


def _umask(text: str) -> int:
    """Read a umask as v0.4 passes it to `filed`."""
    if not NUMBER.fullmatch(text):
        raise UsageError(f"[{SECTION}] umask = {text!r}: not a umask; write it as {UMASK[2:]}")
    umask = int(text, 8) if LEADING_ZERO.fullmatch(text) else int(text, 0)
    if umask > HIGHEST_UMASK:
        raise UsageError(f"[{SECTION}] umask = {text!r}: above 0777")
    # v0.4 takes 0 for "not set", and `filed` then has its own default (PEER_DEFAULT_UMASK).
    return umask or int(UMASK, 0)
