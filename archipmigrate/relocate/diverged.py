"""The job that merges the diverged objects of one volume, and its undo.

A unit is u64, the number of the first object; the pre-image is moves of verb MERGE. The names of
a volume's objects follow from its own, and how many there are is in its map.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..engine.job import Job, UnitResult
from ..errors import FatalError
from ..jobs.outcome import pack_outcome
from ..journal import counting
from ..layout.names import PREFIX, shown, v03_data_name
from ..maps.format import v2
from ..maps.format.v1 import HEADER_SIZE, decode_header_v1, object_count
from ..model import Applied, Failure, Limits, Outcome, Scan, StopFlag, Tally, Unit
from ..packed.moves import Move, Root, Twin, Verb, pack_moves, unpack_moves
from ..tree.files import open_file, same_content, status
from .batch import Done
from .overlay import Overlay, opened
from .places import sha256_directory, v03_directory
from .roots import OpenRoot, Roots, pinned

FIRST = struct.Struct("<Q")
AT_ONCE = 32  # objects that are merged in one unit: 128 MiB
WHY = {
    Outcome.DIFFERENT: "it was changed meanwhile, or written to since: left as it is",
    Outcome.GONE: "it is neither at its old nor at its new place",
}


def objects_of(maps: OpenRoot, volume: bytes) -> int:
    """Return how many objects a volume has. Raises FatalError, OSError."""
    name = PREFIX + volume
    for map_name, place in (
        (volume, sha256_directory(volume)),
        (name, sha256_directory(name)),
        (name, v03_directory(name)),
    ):
        if place is None:
            continue
        try:
            with pinned(maps, place) as directory, opened(open_file(directory, map_name)) as fd:
                raw = os.pread(fd, max(HEADER_SIZE, v2.HEADER_SIZE), 0)
        except FileNotFoundError:
            continue
        if raw.startswith(v2.HEADER_START) and len(raw) >= v2.HEADER_SIZE:
            return object_count(v2.HEADER.unpack(raw[: v2.HEADER_SIZE])[2])
        try:
            return object_count(decode_header_v1(raw))
        except ValueError:
            continue
    raise FatalError(f"{shown(volume)}: there is no map of this volume")


@dataclass(slots=True)
class MergeJob(Job[Scan]):
    """See the module."""

    roots: Roots
    volume: bytes
    objects: int
    dry_run: bool = False
    knows_total: bool = True
    overlay: Overlay = field(init=False)

    def __post_init__(self) -> None:
        """Merge."""
        self.overlay = Overlay(self.roots[Root.BLOCKS])

    def first_units(self) -> Iterable[Unit]:
        """Yield the volume."""
        return [Unit(FIRST.pack(0))]

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find objects that have diverged, of as many as the limits allow."""
        (number,) = FIRST.unpack(unit.body)
        moves: list[Move] = []
        tally, failures = Tally(), []
        while number < self.objects and len(moves) < AT_ONCE and not limits.stop[0]:
            name = v03_data_name(self.volume, number)
            number += 1
            try:
                move = self._diverged(name)
            except OSError as error:
                tally.failed += 1
                failures.append(Failure(name, "look", error.errno or 0))
                continue
            if move is not None:
                tally.entries += 1
                tally.files += 1
                moves.append(move)
        rest = Unit(FIRST.pack(number)) if number < self.objects else None
        return Scan(tally, pack_moves(moves), len(moves), rest=rest, failures=failures)

    def _diverged(self, name: bytes) -> Move | None:
        root, old, new = self.roots[Root.BLOCKS], v03_directory(name), sha256_directory(name)
        if old is None or old == new:
            return None
        try:
            with pinned(root, old) as old_fd, pinned(root, new) as new_fd:
                here, there = status(old_fd, name), status(new_fd, name)
                if here is None or there is None or here.st_ino == there.st_ino:
                    return None
                if same_content(old_fd, new_fd, name):
                    return None
        except FileNotFoundError:
            return None
        there = self.overlay.newer(name) or there  # half done by a run that failed
        twin = Twin(there.st_ino, there.st_mode, there.st_uid, there.st_gid, there.st_mtime_ns)
        place = bytes.fromhex(new.replace(b"/", b"").decode())
        return Move(Verb.MERGE, Root.BLOCKS, old, name, place, here.st_ino, twin)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Merge objects. Raises OSError if what was done may not be durable."""
        del retries, deny_limit, stop  # a unit has few objects
        moves = list(unpack_moves(scan.preimage))
        return result(moves, self.overlay.apply(moves))

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed session left half done. The unit is worked off again."""
        del stop
        done = self.overlay.settle(list(unpack_moves(preimage)))
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        # A merged object is no diverged one: no scan finds it again.
        return UnitResult(_packed(done), Tally(changed, files=changed, changed=changed))


@dataclass(slots=True)
class UndoMergeJob(Job[Scan]):
    """Takes the objects of a run apart again; a unit is a batch of that run."""

    roots: Roots
    batches: dict[int, bytes]  # pre-images
    knows_total: bool = True
    overlay: Overlay = field(init=False)

    def __post_init__(self) -> None:
        """Go back."""
        self.overlay = Overlay(self.roots[Root.BLOCKS], back=True)

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches of the run."""
        return (Unit(FIRST.pack(number)) for number in self.batches)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Return the moves of a batch."""
        del limits  # a batch was made within them
        (number,) = FIRST.unpack(unit.body)
        packed = self.batches[number]
        count = sum(1 for _ in unpack_moves(packed))
        return Scan(Tally(entries=count, files=count), packed, count)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Take objects apart. Raises OSError if what was done may not be durable."""
        del retries, deny_limit, stop  # a unit has few objects
        moves = list(unpack_moves(scan.preimage))
        return result(moves, self.overlay.apply(moves), undo=True)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed undo left half done; its unit is worked off again."""
        del stop
        done = self.overlay.settle(list(unpack_moves(preimage)))
        changed = sum(ended.outcome == Outcome.CHANGED for ended in done)
        return UnitResult(_packed(done), counting.settled(changed))


def result(moves: list[Move], done: list[Done], *, undo: bool = False) -> UnitResult:
    """Return the result of a unit; an undo leaves what somebody has changed since."""
    tally, failures = Tally(), []
    for move, ended in zip(moves, done, strict=True):
        if ended.outcome == Outcome.CHANGED:
            tally.changed += 1
        elif ended.outcome == Outcome.UNCHANGED:
            tally.compliant += 1
        elif undo and ended.outcome in WHY:
            tally.skipped += 1
            failures.append(Failure(move.path, "undo", 0, WHY[ended.outcome]))
        else:
            tally.failed += 1
            why = WHY.get(ended.outcome, ended.note or "it was not begun")
            failures.append(Failure(move.path, "merge", ended.errno, why))
    return UnitResult(
        _packed(done),
        tally,
        failures,
        attempted=len(done),
        succeeded=tally.changed + tally.compliant,
    )


def _packed(done: list[Done]) -> bytes:
    return pack_outcome(Applied(bytes(ended.outcome for ended in done)))
