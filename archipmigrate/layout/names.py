"""What a file is by its name alone. Pure.

In a maps directory:

foobar, archip_foobar             the mapfile of the volume foobar
foobar_00000000000000ff           a block of the map foobar
foobar_lock                       the lock of the map foobar
foobar_lock<holder>_xy            the part of a lock, left by a process that was killed
foobar.archipmigrate_<run>        the part of a file of ours, the same

A part is linked to the name of the lock, or file, that it becomes, and then removed.

In a blocks directory: `archip_` and 64 hex digits is an object that v0.3 wrote (`v03_data_name`),
64 hex digits alone one that Pithos wrote.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import IntEnum

PREFIX = b"archip_"
LOCK = b"_lock"
# Begins the names of directories of ours in a blocker's: v0.3 and v0.4 look into none of these.
OWN_DIRECTORY = b".archipmigrate-"
# Bytes of a volume's name that v0.4 can open (measured on the real daemons).
SHORTEST_NAME, LONGEST_NAME = 6, 82

_BLOCK = re.compile(rb"(.+)_([0-9a-f]{16})", re.DOTALL)
_LOCK_PART = re.compile(rb"(.+)_lock(.+)_[a-z]{2}", re.DOTALL)
_OWN_PART = re.compile(rb"(.+)\.(archipmigrate_[^/]+)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9a-f]{64}")


class Role(IntEnum):
    """What a file is by its name. Volumes are classified in this order; numbers are in journals."""

    MAP = 0
    BLOCK = 1
    LOCK = 2
    LOCK_PART = 3
    OWN_PART = 4
    FOREIGN = 5


@dataclass(frozen=True, slots=True)
class Name:
    """A name taken apart.

    `volume` has no prefix, `prefixed` says whether there was one. `number` is a block's. `holder`
    is whose lock this part was made for, or (OWN_PART) the run that made it.
    """

    role: Role
    volume: bytes
    prefixed: bool = False
    number: int = 0
    holder: bytes = b""

    @property
    def map_name(self) -> bytes:
        """The name of the map that this file is, or belongs to."""
        return map_name(self.volume, prefixed=self.prefixed)


def parse_name(name: bytes) -> Name:
    """Take a file's name apart."""
    if b".archipmigrate_" in name and (found := _OWN_PART.fullmatch(name)):
        return _of(Role.OWN_PART, found[1], holder=found[2])
    if name.endswith(LOCK):
        return _of(Role.LOCK, name.removesuffix(LOCK))
    if LOCK in name and (found := _LOCK_PART.fullmatch(name)):
        return _of(Role.LOCK_PART, found[1], holder=found[2])
    if found := _BLOCK.fullmatch(name):
        return _of(Role.BLOCK, found[1], number=int(found[2], 16))
    return _of(Role.MAP, name)


def parse_map_name(name: bytes) -> Name:
    """Take apart the name of a file that is a map, even if it looks like another role's."""
    return _of(Role.MAP, name)


def _of(role: Role, base: bytes, *, number: int = 0, holder: bytes = b"") -> Name:
    volume = base.removeprefix(PREFIX)
    if volume.startswith(PREFIX) or not volume:
        return Name(Role.FOREIGN, base)
    return Name(role, volume, volume != base, number, holder)


def map_name(volume: bytes, *, prefixed: bool) -> bytes:
    """Return the name of a volume's map."""
    return PREFIX + volume if prefixed else volume


def lock_name(name: bytes) -> bytes:
    """Return the name of a map's lock."""
    return name + LOCK


def is_digest(volume: bytes) -> bool:
    """Whether a name is 64 lowercase hex digits: only those may be v0 maps, or Pithos' blocks."""
    return _DIGITS.fullmatch(volume) is not None


def is_v03_data(name: bytes) -> bool:
    """Whether a name is one that v0.3 gives to objects of volumes."""
    return name.startswith(PREFIX) and is_digest(name.removeprefix(PREFIX))


def v03_data_name(volume: bytes, number: int) -> bytes:
    """Return what v0.3 calls object *number*, from 0 on, of a volume (without the prefix).

    `archip_` and the digits of sha256(`archip_<volume>_<number>`). A volume that is made again
    under an old name uses the old names again.
    """
    digest = hashlib.sha256(b"%s%s_%d" % (PREFIX, volume, number))
    return PREFIX + digest.hexdigest().encode()


def bad_name(volume: bytes) -> str:
    """Return why v0.4 cannot open a volume of this name, or ""."""
    if not SHORTEST_NAME <= len(volume) <= LONGEST_NAME:
        return (
            f"the name has {len(volume)} bytes: v0.4 opens those of {SHORTEST_NAME} to "
            f"{LONGEST_NAME} only"
        )
    return ""


def shown(name: bytes) -> str:
    """Return a name for messages; bytes that are not UTF-8 are escaped."""
    return name.decode(errors="backslashreplace")
