"""Changes that an undo chooses from a batch: in Python here, or in C (native/core/chosen.c).

A choice is one byte a change, which is not 0 for those that are chosen. Both twins give the same
for any changes; with each file of a share in them, only C is fast enough.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from ..backend.extensions import uses_native
from ..packed.changes import Change, Flag, read_changes, with_flags

with contextlib.suppress(ImportError):  # no C compiler where this was installed
    from .. import _native


class Chosen(NamedTuple):
    """Packed changes, of which all are dropped but those that were chosen; how many these are."""

    packed: bytes
    number: int
    directories: int


class Chooser(Protocol):
    """One of the twins. It has no state: any number of threads may share one.

    All raise ValueError if the changes are malformed, or are not as many as the choice has bytes.
    """

    def drop_others(self, changes: bytes, chosen: bytes) -> Chosen:
        """Drop the changes that are not chosen."""

    def with_inodes(self, changes: bytes, chosen: bytes, inodes: bytes) -> bytes:
        """Choose, of these changes, those of some inodes (see `pack_inodes`)."""

    def read(self, changes: bytes, chosen: bytes) -> list[Change]:
        """Return the changes that are chosen."""


class PythonChooser:
    """The reference."""

    def drop_others(self, changes: bytes, chosen: bytes) -> Chosen:
        """See Chooser."""
        found = [(change, is_chosen) for change, is_chosen in _paired(changes, chosen)]
        dropped = (change.offset for change, is_chosen in found if not is_chosen)
        directories = [change.directory for change, is_chosen in found if is_chosen]
        packed = with_flags(changes, dropped, Flag.DROPPED)
        return Chosen(packed, len(directories), sum(directories))

    def with_inodes(self, changes: bytes, chosen: bytes, inodes: bytes) -> bytes:
        """See Chooser."""
        wanted = set(_unpack_inodes(inodes))
        return bytes(
            bool(is_chosen) and change.inode in wanted
            for change, is_chosen in _paired(changes, chosen)
        )

    def read(self, changes: bytes, chosen: bytes) -> list[Change]:
        """See Chooser."""
        return [change for change, is_chosen in _paired(changes, chosen) if is_chosen]


class NativeChooser:
    """The twin in C. It releases the GIL, but where it makes objects of those that are chosen."""

    def drop_others(self, changes: bytes, chosen: bytes) -> Chosen:
        """See Chooser."""
        return Chosen(*_native.drop_others(changes, chosen))

    def with_inodes(self, changes: bytes, chosen: bytes, inodes: bytes) -> bytes:
        """See Chooser."""
        return _native.with_inodes(changes, chosen, inodes)

    def read(self, changes: bytes, chosen: bytes) -> list[Change]:
        """See Chooser."""
        return [Change(*fields) for fields in _native.read_chosen(changes, chosen)]


def chooser_of(backend: str) -> Chooser:
    """Return the chooser that goes with a backend."""
    return NativeChooser() if uses_native(backend) else PythonChooser()


def choice(count: int, indices: Iterable[int]) -> bytes:
    """Return the choice of some of *count* changes. Raises IndexError if there is no such one."""
    chosen = bytearray(count)
    for index in indices:
        chosen[index] = 1
    return bytes(chosen)


def both(chosen: bytes, also: bytes) -> bytes:
    """Return the choice of what both choose, each by 0 or 1."""
    size = max(len(chosen), len(also))
    bits = int.from_bytes(chosen, "little") & int.from_bytes(also, "little")
    return bits.to_bytes(size, "little")


def pack_inodes(inodes: Iterable[int]) -> bytes:
    """Pack inode numbers for `Chooser.with_inodes`: u64 each, ascending."""
    return b"".join(inode.to_bytes(8, "little") for inode in sorted(set(inodes)))


def _unpack_inodes(packed: bytes) -> Iterator[int]:
    if len(packed) % 8:
        raise ValueError("an inode number is cut off")
    return (int.from_bytes(packed[at : at + 8], "little") for at in range(0, len(packed), 8))


def _paired(changes: bytes, chosen: bytes) -> Iterator[tuple[Change, int]]:
    return zip(read_changes(changes), chosen, strict=True)
