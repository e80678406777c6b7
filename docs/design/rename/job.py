"""Files whose names end in `.v03` lose that suffix; the undo gives it back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from ..engine.job import Job, UnitResult
from ..jobs.outcome import pack_outcome, unpack_outcome
from ..journal.store import Journal
from ..model import Applied, Failure, Limits, Outcome, Scan, StopFlag, Tally, Unit

SUFFIX = b".v03"


@dataclass
class RenameJob(Job[Scan]):
    """The one unit is the directory *root*."""

    root: int
    dry_run: bool = False

    def first_units(self) -> Iterable[Unit]:
        """Yield the directory."""
        yield Unit(b"")

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find the files to rename."""
        del limits
        names = [n for n in map(os.fsencode, os.listdir(self.root)) if n.endswith(SUFFIX)]
        return scanned(names, counted=unit.counted)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Rename them."""
        del retries, deny_limit, stop
        return renamed(self.root, scan.preimage, back=False)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Rename them; the unit is scanned again, but no longer finds what has its new name."""
        del stop
        result = renamed(self.root, preimage, back=False, already=Outcome.CHANGED)
        changed = result.tally.changed
        return UnitResult(result.outcome, Tally(entries=changed, files=changed, changed=changed))

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield the directory again; the files that failed are counted already."""
        del journal, failures
        yield Unit(b"", counted=True)


@dataclass
class UndoRenameJob(Job[Scan]):
    """A unit is the number of a batch of the run *target*."""

    root: int
    target: Journal
    knows_total = True
    _reading: Lock = field(default_factory=Lock)  # a journal is used by one thread at a time

    def first_units(self) -> Iterable[Unit]:
        """Yield the batches; the frontier hands out the latest first."""
        return (Unit(b"%d" % number) for number in self.target.batches())

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Find what the batch has renamed."""
        del limits
        with self._reading:
            names = self.target.preimage(int(unit.body)).split(b"\0")
            outcomes = unpack_outcome(self.target.outcome(int(unit.body))).outcomes
        return scanned([n for n, o in zip(names, outcomes, strict=True) if o == Outcome.CHANGED])

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Rename the files back."""
        del retries, deny_limit, stop
        return renamed(self.root, scan.preimage, back=True)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Rename the files back; the unit is scanned again, and apply finds them compliant."""
        del stop
        result = renamed(self.root, preimage, back=True, already=Outcome.CHANGED)
        changed = result.tally.changed
        return UnitResult(result.outcome, Tally(changed=changed, compliant=-changed))


def scanned(names: Sequence[bytes], *, counted: bool = False) -> Scan:
    """Return the scan that found these files to rename."""
    tally = Tally() if counted else Tally(entries=len(names), files=len(names))
    return Scan(tally, b"\0".join(names), len(names))


def renamed(
    root: int, preimage: bytes, *, back: bool, already: Outcome = Outcome.UNCHANGED
) -> UnitResult:
    """Rename files, or *back*; the outcome of those that have their new name is *already*."""
    outcomes, failures = bytearray(), []
    for name in preimage.split(b"\0"):
        old, new = name, name.removesuffix(SUFFIX)
        try:
            is_new = rename(root, *((new, old) if back else (old, new)))
            outcomes.append(Outcome.CHANGED if is_new else already)
        except OSError as error:
            outcomes.append(Outcome.FAILED)
            failures.append(Failure(name, "rename", error.errno or 0, hint=1))
    changed, compliant = (outcomes.count(o) for o in (Outcome.CHANGED, Outcome.UNCHANGED))
    tally = Tally(changed=changed, compliant=compliant, failed=len(failures))
    outcome, tried = pack_outcome(Applied(bytes(outcomes))), len(outcomes)
    return UnitResult(outcome, tally, failures, attempted=tried, succeeded=tried - len(failures))


def rename(root: int, old: bytes, new: bytes) -> bool:
    """Rename a file, never over another one; return False if it has its new name already.

    May be killed between any two calls: then both names are there, and the old one goes.
    """
    before, after = inode(root, old), inode(root, new)
    if before is None and after is not None:
        return False
    if before is None or before != after:
        os.link(old, new, src_dir_fd=root, dst_dir_fd=root, follow_symlinks=False)
    os.unlink(old, dir_fd=root)
    return True


def inode(root: int, name: bytes) -> int | None:
    """Return the inode of a file, None if it is not there."""
    with suppress(FileNotFoundError):
        return os.stat(name, dir_fd=root, follow_symlinks=False).st_ino
    return None
