"""Looks for the objects that v1 maps name, where v0.4 looks for them.

An object that is found nowhere is `missing`: v0.3 served zeros for it, v0.4 fails. One that still
lies where v0.3 put it is none of these: it waits (in a dry run), or is listed for what it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from ..layout.names import PREFIX
from ..maps.format.v1 import (
    ENTRY_SIZE,
    HEADER_SIZE,
    ZERO_DIGEST,
    decode_header_v1,
    object_count,
)
from ..model import RETRIES, TRANSIENT, Failure, Limits, Scan, TablesWrite, Tally, Unit
from ..packed.groups import Hint
from ..packed.moves import Root, shown_path
from ..tree.files import open_file
from .classify import Class
from .native import check_plain
from .places import pithos_directory, sha256_directory, tree_directory, v03_directory
from .roots import Roots, leads_out, status_beneath
from .tables import Found, MapToCheck, end_volumes, name_volume, put_found
from .units import Reading, check_unit, unit_readings

AT_ONCE = 4096  # entries of a map that are read at once
OPERATION = "check"
NOWHERE = "object {number} of {volume} is nowhere: v0.3 served zeros for it, v0.4 fails"
OF_PITHOS = (
    "object {number} of {volume}, of Pithos, is not here: if it is in Pithos' own directory, name "
    "that with --pithos-blocks"
)


@dataclass(slots=True)
class Checker:
    """Scans units of maps. `conflicts` are paths of objects that are conflicts, by their names.

    `has` says of the digest of a block of v0.3 whether it is known to be where v0.4 looks.
    """

    roots: Roots
    conflicts: Mapping[bytes, bytes] = field(default_factory=dict)
    has: Callable[[bytes], bool] = lambda _: False
    native: bool = False

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Look for the objects of maps until done or a limit is reached."""
        # C does not know which objects are conflicts: their volumes are found in Python.
        native = self.native and not self.conflicts
        check = _Check(self.roots, self.conflicts, unit, limits, self.has, native)
        check.run()
        return check.scan()


@dataclass(slots=True)
class _Check:
    """One unit of maps."""

    roots: Roots
    conflicts: Mapping[bytes, bytes]
    unit: Unit
    limits: Limits
    has: Callable[[bytes], bool]
    native: bool
    _todo: list[Reading] = field(default_factory=list)
    _again: list[Reading] = field(default_factory=list)
    _ended: list[bytes] = field(default_factory=list)
    _found: list[Found] = field(default_factory=list)
    _named: list[tuple[bytes, bytes]] = field(default_factory=list)
    _failures: list[Failure] = field(default_factory=list)
    _looked: int = 0
    _until: float = 0.0

    def run(self) -> None:
        self._until = monotonic() + self.limits.seconds
        self._todo = unit_readings(self.unit.body)
        while self._todo and not self._is_over():
            reading = self._todo.pop()
            try:
                first = self._read(reading)
            except OSError as error:
                self._fail(reading, error.errno or errno.EIO)
                continue
            if first is None:
                self._ended.append(reading.map.name)
            else:
                self._todo.append(Reading(reading.map, first))

    def _is_over(self) -> bool:
        """Whether a limit is reached; never before something was looked for."""
        if not self._looked:
            return False
        full = self._looked >= self.limits.entries or bool(self.limits.stop[0])
        return full or monotonic() >= self._until

    def scan(self) -> Scan:
        """Return the result of the unit."""
        again = check_unit(self._again, self.unit.retries + 1)
        return Scan(
            Tally(failed=len(self._failures)),
            rest=check_unit(self._todo, self.unit.retries) if self._todo else None,
            again=[again] if self._again else (),
            failures=self._failures,
            writes=list(self._writes()),
            operations=self._looked,
        )

    def _writes(self) -> Iterator[TablesWrite]:
        if self._found:
            yield partial(put_found, found=self._found)
        if self._named:
            yield partial(name_volume, named=self._named)
        if self._ended:
            yield partial(end_volumes, names=self._ended)

    def _fail(self, reading: Reading, number: int) -> None:
        if number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(reading)
            return
        path = shown_path(Root.MAPS, reading.map.directory, reading.map.name)
        self._failures.append(Failure(path, OPERATION, number, hint=Hint.ENTRY))
        self._ended.append(reading.map.name)

    # -- one map

    def _read(self, reading: Reading) -> int | None:
        """Look for objects of a map; return the next one to look for, None at the end."""
        fd = self._open(reading.map)
        self._looked += 1
        if fd is None:
            return None
        try:
            try:
                size = decode_header_v1(os.pread(fd, HEADER_SIZE, 0))
            except ValueError:
                return None  # no v1 map: `mapfiles` says what it is
            number, count = reading.first, object_count(size)
            while number < count:
                length = min(AT_ONCE, count - number) * ENTRY_SIZE
                raw = os.pread(fd, length, HEADER_SIZE + number * ENTRY_SIZE)
                self._look_all(reading.map, number, raw)
                number += len(raw) // ENTRY_SIZE
                if len(raw) < length:
                    return None  # cut off: `mapfiles` says so
                if self._is_over():
                    return number if number < count else None
            return None
        finally:
            os.close(fd)

    def _open(self, found: MapToCheck) -> int | None:
        """Open a map at its new place, or where it was found."""
        root = self.roots[Root.MAPS]
        for directory in (sha256_directory(found.name), found.directory):
            try:
                fd = root.pin(directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                if leads_out(error):
                    continue
                raise
            try:
                return open_file(fd, found.name)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EINVAL, errno.ENXIO):
                    raise
            finally:
                os.close(fd)
        return None

    def _look_all(self, found: MapToCheck, first: int, raw: bytes) -> None:
        """Look for the objects of whole entries, of which C finds most."""
        indices: Sequence[int] = range(len(raw) // ENTRY_SIZE)
        if self.native:
            looked, indices = check_plain(self.roots[Root.BLOCKS], raw)
            self._looked += looked
        for index in indices:
            at = index * ENTRY_SIZE
            self._look(found, first + index, raw[at], raw[at + 1 : at + ENTRY_SIZE])

    def _look(self, found: MapToCheck, number: int, flag: int, digest: bytes) -> None:
        if not flag and digest == ZERO_DIGEST:
            return
        name = (PREFIX if flag else b"") + digest.hex().encode()
        volume = found.name.removeprefix(PREFIX)
        if name in self.conflicts:
            self._named.append((self.conflicts[name], volume))
            return
        if flag and self.has(digest):
            return
        self._looked += 1
        if not self._is_somewhere(name):
            shown = volume.decode(errors="backslashreplace")
            self._found.append(
                Found(
                    shown_path(Root.BLOCKS, _directories(name)[0], name),
                    Class.MISSING,
                    (NOWHERE if flag else OF_PITHOS).format(number=number, volume=shown),
                    volume,
                )
            )

    def _is_somewhere(self, name: bytes) -> bool:
        """Whether v0.4 finds an object, or it waits at a place of v0.3."""
        if any(self._is_at(Root.BLOCKS, directory, name) for directory in _directories(name)):
            return True
        tree = Root.PITHOS_BLOCKS
        return tree in self.roots and self._is_at(tree, tree_directory(name), name)

    def _is_at(self, root: Root, directory: bytes, name: bytes) -> bool:
        try:
            return status_beneath(self.roots[root], directory, name) is not None
        except OSError as error:
            if leads_out(error):
                return False
            raise


def _directories(name: bytes) -> Sequence[bytes]:
    """Return where an object may lie, in the order in which v0.4 looks; v0.3's place last."""
    if (pithos := pithos_directory(name)) is not None:
        return (pithos, sha256_directory(name))
    v03 = v03_directory(name)
    return (sha256_directory(name),) if v03 is None else (sha256_directory(name), v03)
