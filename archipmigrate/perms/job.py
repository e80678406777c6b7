"""The permissions job: gives every directory and regular file what the policy says.

A dry run scans and changes nothing; `verify` is the same with another summary.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from ..backend.base import Backend, ScanOptions
from ..engine.job import Job, UnitResult
from ..errors import ShareError
from ..jobs.outcome import all_of, pack_outcome, unpack_outcome
from ..journal import counting
from ..journal.store import Journal
from ..model import (
    DEFERRED,
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    Limits,
    Notice,
    Outcome,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Verb,
)
from ..packed.changes import Change, Flag, read_changes, with_flags
from ..packed.groups import Group, Hint, join_units, split_unit, walk_unit, whole
from ..policy import GroupPolicy
from .outside import StateDirectory, close_scan
from .pairs import Pairs, is_marked, unmarked
from .reasons import Reasons

# Entries that are looked at, at most, instead of directories that a deferred unit does not find.
MOST_INSTEAD = 100_000
KEEPS_CHANGING = "somebody keeps changing it"
GONE = "the share is no longer there: its directory was removed during the run"
# How to retry a failed scan by its operation; by default the whole directory is walked again.
# A name that is too long for a unit is not retried.
RETRY_HINTS = {"stat": Hint.ENTRY, "revisit": Hint.SELF, "name": 0}
# Outcomes of changes that were attempted.
ATTEMPTED = (Outcome.CHANGED, Outcome.FAILED)
# What settling cannot tell: the entry was, or was not, changed before it came to this.
UNKNOWN_AS_FAILED = bytes.maketrans(
    bytes([Outcome.GONE, Outcome.DIFFERENT]), bytes([Outcome.FAILED, Outcome.FAILED])
)


@dataclass(slots=True)
class PermsJob(Job[Scan]):
    """See the module. Units are packed groups, pre-images are packed changes (see `packed`).

    Names of one inode are changed by one batch only, unless a change parts them: see `parts_links`.
    """

    backend: Backend
    policy: GroupPolicy
    options: ScanOptions
    dry_run: bool = False
    state: StateDirectory | None = None
    pairs: Pairs | None = None
    parts_links: bool = False  # a name that is changed gets an inode of its own: each is changed

    def first_units(self) -> Iterable[Unit]:
        """Yield the root of the share."""
        yield walk_unit([whole()])

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Scan a unit through the backend; give its failures hints for retries.

        A deferred unit has no limits but a stop: its directories are changed from the innermost to
        the outermost, once all are looked at, so that a limit might leave all of them over.

        Raises ShareError if the state directory is met, or the share's root was removed.
        """
        if unit.scope == DEFERRED:
            most = unit.entries + MOST_INSTEAD
            limits = Limits(math.inf, most, most, limits.stop)
        scan = self._scanned(unit, limits)
        if self.state is not None:
            self.state.refuse(scan)
        if self.parts_links:
            scan = replace(scan, links=())
        if not scan.failures:
            return scan
        if any(f.errno == errno.ENOENT and not f.path for f in scan.failures):
            close_scan(scan)
            raise ShareError(GONE)
        failures = [replace(f, hint=RETRY_HINTS.get(f.operation, Hint.WALK)) for f in scan.failures]
        return replace(scan, failures=failures)

    def _scanned(self, unit: Unit, limits: Limits) -> Scan:
        """Scan a unit; pairs are no hard links that are skipped."""
        if self.pairs is None or not self.options.skip_links:
            return self.backend.scan(unmarked(unit), self.policy, self.options, limits)
        if not is_marked(unit):
            scan = self.backend.scan(unit, self.policy, self.options, limits)
            return self.pairs.without(scan, counted=unit.counted)
        options = replace(self.options, skip_links=False)
        return self.pairs.only(self.backend.scan(unmarked(unit), self.policy, options, limits))

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Cut packed groups."""
        return [unit] if is_marked(unit) else split_unit(unit, parts)

    def join(self, units: Sequence[Unit]) -> Unit:
        """Join packed groups; directories come before those in them, and are changed after."""
        return join_units(units)

    def drop(self, preimage: bytes, offsets: Iterable[int]) -> bytes:
        """Mark the changes of inodes that another batch covers."""
        return with_flags(preimage, offsets, Flag.DROPPED)

    def contested(self, unit: Unit, preimage: bytes, offsets: Sequence[int]) -> Sequence[Unit]:
        """Return a unit of the names of changes at *offsets*."""
        wanted = set(offsets)
        changes = (change for change in read_changes(preimage) if change.offset in wanted)
        groups = [_again(change.path, Hint.ENTRY, change.within) for change in changes]
        if not groups:
            return ()
        return [walk_unit(_joined(groups), retries=unit.retries, counted=True)]

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield a unit that scans the entries of failures again."""
        del journal
        groups = [_again(f.path, f.hint) for f in failures if f.hint]
        if groups:
            yield walk_unit(groups, counted=True)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Change the entries."""
        applied = self.backend.apply(
            scan.preimage, Verb.FORWARD, deny_limit=deny_limit, retained=scan.retained, stop=stop
        )
        changed = applied.outcomes.count(Outcome.CHANGED)
        outcome = pack_outcome(applied)
        if changed == len(applied.outcomes) and not applied.failures:
            return UnitResult(outcome, Tally(changed=changed), attempted=changed, succeeded=changed)
        rest = _Rest(applied, retries)
        for change in read_changes(scan.preimage):
            rest.sort(change)
        return UnitResult(
            outcome,
            replace(rest.tally, changed=changed),
            rest.failures,
            rest.units(),
            rest.pause,
            rest.unchanged,
            attempted=sum(applied.outcomes.count(kind) for kind in ATTEMPTED),
            succeeded=changed,
            notices=rest.notices,
            deferred=rest.deferred(),
        )

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed session left half done, and count what it changed.

        Linked inodes that are still unchanged are freed, for the batch that scans them next. What
        is not as the killed session can have left it counts as failed: that session may have
        changed it before its name went, so undo has to look.
        """
        applied = all_of(self.backend.apply(preimage, Verb.SETTLE, stop=stop), stop)
        changed = applied.outcomes.count(Outcome.CHANGED)
        freed: list[int] = []
        if changed < len(applied.outcomes):
            freed = [
                change.inode
                for change in read_changes(preimage)
                if change.flags & Flag.LINKED
                and applied.outcomes[change.index] not in (Outcome.CHANGED, Outcome.DROPPED)
            ]
        tally = counting.settled(changed)
        known = replace(applied, outcomes=applied.outcomes.translate(UNKNOWN_AS_FAILED))
        return UnitResult(pack_outcome(known), tally, unchanged_inodes=freed)


def listed_changes(changes: bytes, outcome: bytes | None) -> list[Change]:
    """Return the changes of a unit that were made or, in a dry run, would be made."""
    if outcome is None:
        return [change for change in read_changes(changes) if not change.flags & Flag.DROPPED]
    outcomes = unpack_outcome(outcome).outcomes
    return [c for c in read_changes(changes) if outcomes[c.index] == Outcome.CHANGED]


@dataclass(slots=True)
class _Rest:
    """What remains of a unit of which not every change was made: failures, retries, notices."""

    applied: Applied
    retries: int
    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    unchanged: list[int] = field(default_factory=list)
    pause: bool = False
    _again: list[Group] = field(default_factory=list)
    _untried: list[Group] = field(default_factory=list)
    _deferred: list[Group] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    _reasons: Reasons = field(init=False)

    def __post_init__(self) -> None:
        """Index the reasons by change."""
        self._reasons = Reasons(self.applied)

    def sort(self, change: Change) -> None:
        """Sort one change by its outcome."""
        outcome = self.applied.outcomes[change.index]
        if outcome == Outcome.CHANGED:
            if change.index in self._reasons:
                self.notices.append(Notice(change.path, self._reasons.operation(change.index)))
            return
        if outcome == Outcome.DROPPED:
            return  # counted when it was dropped
        if change.flags & Flag.LINKED:
            self.unchanged.append(change.offset)
        hint = Hint.SELF if change.directory else Hint.ENTRY
        if outcome == Outcome.GONE:
            self.tally.vanished += 1
        elif outcome == Outcome.UNTRIED:
            untried = self._deferred if change.directory else self._untried
            untried.append(_again(change.path, hint, change.within))
        elif outcome == Outcome.DIFFERENT:
            self._retry(change, hint, Failure(change.path, "change", errno.EAGAIN, KEEPS_CHANGING))
        else:
            wanted = change.new_mode, change.new_uid, change.new_gid
            failure = self._reasons.failure(change, wanted, hint)
            if failure.errno in TRANSIENT:
                self.pause = self.pause or failure.errno != errno.ESTALE
                self._retry(change, hint, failure)
            else:
                self._fail(failure)

    def units(self) -> list[Unit]:
        """Return units for the retries, and for the changes that were not tried."""
        units = []
        if self._again:
            groups = _joined(self._again)
            units.append(walk_unit(groups, retries=self.retries + 1, counted=True))
        if self._untried:
            groups = _joined(self._untried)
            units.append(walk_unit(groups, retries=self.retries, counted=True))
        return units

    def deferred(self) -> Unit | None:
        """Return the directories whose own change was not tried."""
        return join_units([walk_unit(self._deferred)]) if self._deferred else None

    def _retry(self, change: Change, hint: Hint, failure: Failure) -> None:
        if self.retries < RETRIES:
            self._again.append(_again(change.path, hint, change.within))
        else:
            self._fail(replace(failure, hint=hint))

    def _fail(self, failure: Failure) -> None:
        self.failures.append(failure)
        self.tally.failed += 1


def _again(path: bytes, hint: int, within: int = 0) -> Group:
    """Return the group that scans one entry again.

    *within* is the inode of the directory that it is in or, if *hint* is not ENTRY, that it is.
    """
    if hint == Hint.ENTRY:
        directory, _, name = path.rpartition(b"/")
        return Group(directory, within, ((Hint.ENTRY, name),))
    return Group(path, within, ((hint, b""),))


def _joined(groups: Iterable[Group]) -> Iterator[Group]:
    """Yield the groups, consecutive ones of the same directory joined."""
    for (path, inode), same in groupby(groups, lambda group: (group.path, group.inode)):
        yield Group(path, inode, tuple(name for group in same for name in group.names))
