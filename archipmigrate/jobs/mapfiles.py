"""The mapfiles job: every volume's map to v2.

First a survey: units are directories to list, and what is found goes into the journal. When all is found
it is judged there; then units are volumes, with a hint for what is to be done with each. The scan of a
volume takes its locks, judges it again and keeps what will go away; its change is the record of all
that; to act is to upgrade it. With `acts=False` it is the survey alone, and the dry run.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from ..blocker import upgrade
from ..blocker.entries import BadEntry
from ..blocker.judge import CHECK, SWEEP, judge_survey, volume_row
from ..blocker.look import look_at_volume
from ..blocker.record import Record, lock_names, pack_records, read_records
from ..blocker.store import Different, Locked, Store
from ..blocker.survey import Survey
from ..blocker.upgrade import Unfinished
from ..engine.job import Acted
from ..errors import FatalError
from ..frames import Group, Hint, unpack_groups, walk_unit
from ..journal.location import SPARE_BYTES, spare_bytes
from ..journal.store import Journal
from ..journal.volumes import (
    VolumeRow,
    bytes_to_keep,
    is_surveying,
    pending_count,
    pending_volumes,
    put_files,
    put_volumes,
)
from ..mapfile.verdict import Plan, Result
from ..model import RETRIES, TRANSIENT, Applied, Failure, Held, Limits, Outcome, Scan, Tally, Unit
from .outcome import pack_outcome

DENIED = (errno.EPERM, errno.EACCES)
# What is to be done with a volume, as the hint of its name in a unit; in lower case: swept before.
HINTS = {
    Plan.RENAME: ord("R"),
    Plan.IN_PLACE: ord("I"),
    Plan.FINISH: ord("F"),
    CHECK: ord("C"),
    "": ord("N"),
}
PLANS = {hint: plan for plan, hint in HINTS.items()}
IN_A_UNIT = 64  # volumes
AT_ONCE = 20_000  # volumes that are in the frontier at once
MOST_BYTES = 64 << 20  # of old maps that one unit keeps before the first is upgraded


@dataclass(slots=True)
class HeldLocks:
    """The volumes of one unit whose locks are held: `act` takes them over one by one."""

    store: Store
    stop: bytearray
    records: list[Record] = field(default_factory=list)

    def close(self) -> None:
        """Release what `act` did not take over. Locks that cannot be released are a dead run's."""
        for record in self.records:
            try:
                self.store.release_locks(record.lock_names)
            except OSError:
                continue
        self.records.clear()


@dataclass(slots=True)
class MapfilesJob:
    """See the module. `keeps` says whether old maps are kept, `check` whether blocks are read.

    `say` is told what the administrator should know before volumes are upgraded.
    """

    store: Store
    acts: bool = True
    check: bool = False
    say: Callable[[str], None] = lambda _: None
    name: str = "mapfiles"
    knows_total: bool = False
    total: int | None = None

    def first_units(self) -> Iterable[Unit]:
        """Yield the directories of maps and locks."""
        return self._survey().first_units()

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Judge the survey; then yield the volumes to work on, so many at once."""
        if is_surveying(journal):
            judge_survey(journal, locks_apart=self.store.locks.flat, check=self.check)
            if self.acts:
                self._make_room(bytes_to_keep(journal))
        if self.total is None:
            self.total = pending_count(journal)
        names = [(_hint(row.plan), row.name) for row in pending_volumes(journal, AT_ONCE)]
        return [
            walk_unit([Group(b"", 0, tuple(names[at : at + IN_A_UNIT]))])
            for at in range(0, len(names), IN_A_UNIT)
        ]

    def _make_room(self, needed: int) -> None:
        """Say what is going to be kept. Raises FatalError if there is no room for it."""
        kept = self.store.kept
        if kept is None or not needed:
            return
        spare = spare_bytes(kept.path.parent)
        words = f"{needed / 1e6:,.1f} MB of old maps are kept for undo in {kept.path.parent}"
        if needed + SPARE_BYTES > spare:
            raise FatalError(
                f"{words}, which has {spare / 1e6:,.1f} MB left: make room there, or choose "
                "another directory with --state, or give up the undo with --no-keep"
            )
        self.say(f"{words} (--no-keep keeps none)")

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """List directories, or prepare volumes."""
        if unit.cursor is None:
            volumes = [
                (hint, name)
                for group in unpack_groups(unit.body)
                for hint, name in group.names
                if hint & ~0x20 in PLANS
            ]
            if volumes:
                return _Volumes(self, unit, limits).scan(volumes)
        scan, files = self._survey().scan(unit, limits)
        return replace(scan, writes=[partial(put_files, files=files)])

    def _survey(self) -> Survey:
        return Survey(self.store.maps, self.store.locks, self.store.sizes)

    def drop(self, changes: bytes, offsets: Iterable[int]) -> bytes:
        """Return *changes*: no two volumes share anything."""
        del offsets
        return changes

    def retry(self, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Yield the volumes that failed; everything anew if a directory could not be listed."""
        if any(failure.hint == Hint.WALK for failure in failures):
            yield from self.first_units()
        names = [(HINTS[Plan.RENAME], f.path) for f in failures if f.hint == Hint.ENTRY]
        if names:
            yield walk_unit([Group(b"", 0, tuple(names))])

    def act(self, changes: bytes, retries: int, deny_limit: int, held: Held | None = None) -> Acted:
        """Upgrade volumes whose locks are held."""
        del deny_limit
        assert isinstance(held, HeldLocks)  # noqa: S101 -- as `scan` made it
        ending = _Ending(retries)
        for record in read_records(changes):
            if ending.outcomes and held.stop[0]:
                ending.untried(record)
                continue
            held.records.pop(0)
            ending.note(record, partial(upgrade.act, self.store, record))
        return ending.acted()

    def settle(self, changes: bytes) -> Acted:
        """Finish what a killed session, or a failure, left of upgrades."""
        ending = _Ending(RETRIES)
        for record in read_records(changes):
            ending.note(record, partial(upgrade.settle, self.store, record), settling=True)
        acted = ending.acted()
        # Its unit will be looked at again, and finds these current.
        tally = replace(acted.tally, compliant=-acted.tally.changed)
        return replace(acted, tally=tally, again=())


def release_left(store: Store, journal: Journal) -> None:
    """Release what a killed session may hold of volumes that it had not begun. Raises OSError."""
    for row in pending_volumes(journal):
        _sweep(store, row.name)


def _hint(plan: str) -> int:
    if plan.startswith(SWEEP):
        return HINTS[plan.removeprefix(SWEEP)] | 0x20
    return HINTS[plan]


@dataclass(slots=True)
class _Volumes:
    """One unit of volumes while they are looked at."""

    job: MapfilesJob
    unit: Unit
    limits: Limits
    records: list[Record] = field(default_factory=list)
    rows: list[VolumeRow] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    failures: list[Failure] = field(default_factory=list)
    again: list[tuple[int, bytes]] = field(default_factory=list)
    _bytes: int = 0

    def scan(self, volumes: Sequence[tuple[int, bytes]]) -> Scan:
        """Look at volumes until done or a limit is reached."""
        store = self.job.store
        held = HeldLocks(store, self.limits.stop, self.records)
        until = monotonic() + self.limits.seconds
        done = 0
        try:
            for hint, name in volumes:
                if done and (self._is_full() or monotonic() >= until):
                    break
                done += 1
                self._look(hint, name)
            if self.records and store.kept is not None:
                store.kept.sync()
        except BaseException:
            held.close()
            raise
        rest = volumes[done:]
        return Scan(
            self.tally,
            pack_records(self.records) if self.records else b"",
            len(self.records),
            rest=self._unit(rest) if rest else None,
            again=[replace(self._unit(self.again), retries=self.unit.retries + 1)]
            if self.again
            else (),
            failures=self.failures,
            held=held if self.records else None,
            writes=[partial(put_volumes, rows=self.rows)],
        )

    def _is_full(self) -> bool:
        limits = self.limits
        full = len(self.records) >= limits.changes or self._bytes >= MOST_BYTES
        return full or bool(limits.stop[0])

    def _unit(self, names: Sequence[tuple[int, bytes]]) -> Unit:
        return walk_unit([Group(b"", 0, tuple(names))], retries=self.unit.retries)

    def _look(self, hint: int, name: bytes) -> None:
        try:
            row, record = self._volume(hint, name)
        except OSError as error:
            number = error.errno or errno.EIO
            if number in TRANSIENT and self.unit.retries < RETRIES:
                self.again.append((hint, name))
                return
            failure = Failure(name, "prepare", number, _note(error), Hint.ENTRY)
            self.failures.append(failure)
            self.tally.failed += 1
            self.rows.append(failed_row(name, failure))
            return
        if record is not None:
            self.records.append(record)
            self._bytes += sum(file.length for file in record.sources)
            return
        self.rows.append(row)
        self.tally.changed += row.result == Result.WOULD_UPGRADE
        self.tally.compliant += row.result == Result.CURRENT
        self.tally.skipped += row.result not in (Result.WOULD_UPGRADE, Result.CURRENT)

    def _volume(self, hint: int, name: bytes) -> tuple[VolumeRow, Record | None]:
        store, plan = self.job.store, PLANS[hint & ~0x20]
        if hint & 0x20 and self.job.acts:
            _sweep(store, name)
        if plan == CHECK or not plan:
            verdict = look_at_volume(store.maps, name, store.sizes).verdict
            if verdict.plan is Plan.NONE:
                if self.job.check and verdict.result is Result.CURRENT:
                    verdict = upgrade.checked_verdict(store, name, verdict)
                return volume_row(name, verdict), None
            plan = verdict.plan
        if not self.job.acts:
            return volume_row(name, upgrade.peek(store, name).verdict), None
        prepared = upgrade.prepare(store, name, Plan(plan))
        return volume_row(name, prepared.verdict), prepared.record


def _sweep(store: Store, volume: bytes) -> None:
    """Remove what dead runs of ours left of locking a volume."""
    for name in lock_names(volume, Plan.RENAME):
        store.locks.sweep(name)
        store.locks.release(name)


@dataclass(slots=True)
class _Ending:
    """What became of the volumes of one unit."""

    retries: int
    outcomes: bytearray = field(default_factory=bytearray)
    rows: list[VolumeRow] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    again: list[bytes] = field(default_factory=list)
    untried_names: list[bytes] = field(default_factory=list)
    unfinished: bool = False
    pause: bool = False

    def note(self, record: Record, work: Callable[[], object], *, settling: bool = False) -> None:
        """Do it, and take note of how it ends."""
        try:
            ours = work()
        except Unfinished as error:
            self.unfinished = True
            self._fail(record, errno.EIO, f"not finished yet: {error}")
        except BadEntry as error:
            row = VolumeRow(record.volume, Result.INVALID, str(error), version=record.version)
            self.rows.append(row)
            self.outcomes.append(Outcome.UNCHANGED)
        except Locked as error:
            self.unfinished = True
            self._fail(record, errno.EBUSY, str(error))
        except Different as error:
            self._try_again(record, errno.EAGAIN, str(error), pause=False)
        except OSError as error:
            number = error.errno or errno.EIO
            self.unfinished = self.unfinished or settling
            if number in TRANSIENT:
                self._try_again(record, number, _note(error), pause=True)
            else:
                self._fail(record, number, _note(error))
        else:
            if ours is False:
                self.outcomes.append(Outcome.GONE)
            else:
                self.outcomes.append(Outcome.CHANGED)
                self.rows.append(upgraded_row(record))

    def untried(self, record: Record) -> None:
        """Leave a volume to the next session: its locks are released with what held them."""
        self.outcomes.append(Outcome.UNTRIED)
        self.untried_names.append(record.volume)

    def _try_again(self, record: Record, number: int, note: str, *, pause: bool) -> None:
        if self.retries >= RETRIES:
            self._fail(record, number, note)
            return
        self.outcomes.append(Outcome.UNCHANGED)
        self.again.append(record.volume)
        self.pause = self.pause or pause

    def _fail(self, record: Record, number: int, note: str) -> None:
        failure = Failure(record.volume, "upgrade", number, note, Hint.ENTRY)
        self.outcomes.append(Outcome.FAILED)
        self.failures.append(failure)
        self.rows.append(failed_row(record.volume, failure, record))

    def acted(self) -> Acted:
        """Return it for the engine."""
        changed = self.outcomes.count(Outcome.CHANGED)
        units = []
        for names, retries in ((self.again, self.retries + 1), (self.untried_names, self.retries)):
            if names:
                hinted = tuple((HINTS[Plan.RENAME], name) for name in names)
                units.append(walk_unit([Group(b"", 0, hinted)], retries=retries))
        return Acted(
            None if self.unfinished else pack_outcome(Applied(bytes(self.outcomes))),
            Tally(changed=changed, failed=len(self.failures)),
            self.failures,
            units,
            self.pause,
            attempted=len(self.outcomes) - len(self.untried_names),
            succeeded=changed,
            denied=sum(failure.errno in DENIED for failure in self.failures),
            writes=[partial(put_volumes, rows=self.rows)],
        )


def upgraded_row(record: Record) -> VolumeRow:
    """Return the result of a volume that was upgraded."""
    header = record.header
    return VolumeRow(
        record.volume,
        Result.UPGRADED,
        plan=record.plan,
        map_name=record.volume,
        version=record.version,
        objects=header.objects,
        size=header.size,
        epoch=header.epoch,
    )


def failed_row(volume: bytes, failure: Failure, record: Record | None = None) -> VolumeRow:
    """Return the result of a volume that failed."""
    name = errno.errorcode.get(failure.errno, str(failure.errno))
    reason = f"{failure.operation}: {name} ({failure.note})"
    version = record.version if record else None
    return VolumeRow(volume, Result.FAILED, reason, version=version)


def _note(error: OSError) -> str:
    return error.strerror or str(error)
