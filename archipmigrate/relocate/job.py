"""The relocate job: every object to where v0.4 looks for it.

It begins with a survey of both directories: what is to be moved waits in the journal, what is not
is listed. Once all is known the run stops if there is no room for the new directories; nothing was
touched until then. Then units are packed moves. In the end it looks for the objects that v1 maps
name.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..engine.job import Job, UnitResult
from ..errors import FatalError
from ..jobs.outcome import pack_outcome
from ..journal import counting
from ..journal.store import Journal
from ..layout.names import is_digest
from ..model import (
    RETRIES,
    TRANSIENT,
    Applied,
    Failure,
    FailureKind,
    Limits,
    Outcome,
    Scan,
    StopFlag,
    TablesWrite,
    Tally,
    Unit,
)
from ..packed.groups import Hint
from ..packed.moves import Move, Root, Verb, unpack_moves
from . import missing, survey
from .batch import Done
from .classify import Class
from .mover import Mover
from .native import Moved, NativeMover
from .outside import ABOVE, look_outside
from .room import lacking_room, needs_copies
from .roots import Roots
from .tables import (
    CHECK,
    MOVE,
    SURVEY,
    MapToCheck,
    add_counts,
    crossings_of,
    end_waiting,
    found_paths,
    moves_left,
    note_refusal,
    put_copies,
    put_originals,
    put_volumes,
    set_stage,
    stage_of,
    volumes_to_check,
    waiting_counts,
    waiting_moves,
)
from .units import (
    LOOK,
    MOVES,
    OUTSIDE,
    Reading,
    check_unit,
    cut_unit,
    kind_of,
    moves_unit,
    outside_unit,
    packed_unit,
    split,
    unit_row,
)
from .units import SURVEY as SURVEY_UNIT
from .ways import Ways

AT_ONCE = 20_000  # moves, or maps, that are in the frontier at once
IN_A_UNIT = 64  # maps
MOST_CONFLICTS = 50_000  # whose volumes are found: 20 MB
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True)
class RelocateJob(Job[Scan]):
    """See the module. `native`: objects are moved in C where that is all there is to do."""

    roots: Roots
    ways: Ways
    dry_run: bool = False
    may_copy: bool = False  # objects may be moved by copying them
    native: bool = False
    total: int | None = None
    mover: Mover = field(init=False)
    _fast: NativeMover | None = field(init=False)
    _conflicts: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Move forward."""
        self.mover = Mover(self.roots)
        self._fast = NativeMover(self.mover) if self.native else None

    def first_units(self) -> Iterable[Unit]:
        """Yield the directories."""
        return survey.first_units(self.roots)

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Yield moves, at most about `AT_ONCE`; then, once all are made, maps to check."""
        if stage_of(journal) == SURVEY:
            self._check_room(journal)
            set_stage(journal, MOVE)
        if self.total is None:
            self.total = moves_left(journal)
        if stage_of(journal) == MOVE:
            waiting = waiting_moves(journal, AT_ONCE)
            if units := [packed_unit(row.body, row.moves, row.row) for row in waiting]:
                return units
            set_stage(journal, CHECK)
        self.load_conflicts(journal)
        maps = [Reading(found) for found in volumes_to_check(journal, AT_ONCE)]
        return [check_unit(maps[at : at + IN_A_UNIT]) for at in range(0, len(maps), IN_A_UNIT)]

    def _check_room(self, journal: Journal) -> None:
        """Raise FatalError if it does not fit, or needs copies. Nothing was touched yet.

        A dry run that needs copies goes on, and notes why.
        """
        crossings = crossings_of(journal)
        try:
            needed = "" if self.may_copy else needs_copies(self.roots, crossings)
            why = lacking_room(self.roots, waiting_counts(journal), crossings)
        except OSError as error:
            needed, why = "", f"the share does not answer ({error.strerror})"
        note_refusal(journal, needed)
        if self.dry_run:
            needed = ""
        if why := needed or why:
            raise FatalError(f"{why}; nothing was touched")

    def load_conflicts(self, journal: Journal) -> None:
        """Read which objects are conflicts, to find out whose they are: of as many as fit."""
        paths = found_paths(journal, Class.CONFLICT, MOST_CONFLICTS)
        self._conflicts = {path.rpartition(b"/")[2]: path for path in paths}

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Walk directories, take the next moves of a unit, or look for objects."""
        kind = kind_of(unit.body)
        if kind in (SURVEY_UNIT, LOOK):
            return survey.Survey(self.roots, self.ways, self.native).scan(unit, limits)
        if kind == MOVES:
            return self._scan_moves(unit, limits)
        if kind == OUTSIDE:
            return look_outside(self.roots[Root.MAPS], unit, limits)
        return missing.Checker(self.roots, self._conflicts, native=self.native).scan(unit, limits)

    def _scan_moves(self, unit: Unit, limits: Limits) -> Scan:
        """Return the moves that a unit has room for. They are compared when they are made."""
        packed, number, rest = cut_unit(unit, max(min(limits.changes, limits.entries), 1))
        row = unit_row(unit.body)
        writes: list[TablesWrite] = [partial(end_waiting, row=row)] if row else []
        if self.dry_run:
            writes.append(_count_classes(unpack_moves(packed)))
        return Scan(Tally(), packed, number, rest=rest, writes=writes, operations=number)

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Cut a unit of any kind."""
        return split(unit, parts)

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Look again at what failed, and check maps again that could not be read."""
        unread = [f.path for f in failures if f.operation == missing.OPERATION]
        put_volumes(journal, [_map_at(path) for path in unread])
        looked = [f for f in failures if f.operation != missing.OPERATION]
        if any(f.path.startswith(ABOVE) for f in looked):
            looked = [f for f in looked if not f.path.startswith(ABOVE)]
            yield outside_unit()
        if looked:
            set_stage(journal, SURVEY)
            yield survey.retry_unit(looked)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Move objects. Raises OSError if what was done may not be durable."""
        if self._fast is None:
            moves = list(unpack_moves(scan.preimage))
            done = self.mover.apply(moves, stop, deny_limit)
            return moved(moves, done, retries, may_copy=self.may_copy)
        fast = self._fast.move(scan.preimage, stop, deny_limit)
        if fast.is_all:
            return all_moved(fast)
        moves = list(unpack_moves(scan.preimage))
        done = self._fast.complete(moves, fast, stop, deny_limit)
        return moved(moves, done, retries, may_copy=self.may_copy)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed session left half done. The unit is worked off again."""
        del stop  # a batch has few that are half done
        moves = list(unpack_moves(preimage))
        done = self.mover.settle(moves)
        changed = [m for m, d in zip(moves, done, strict=True) if d.outcome == Outcome.CHANGED]
        return UnitResult(
            _packed(done),
            counting.settled(len(changed)),
            writes=[_count_classes(changed), *_copies(moves, done)],
        )


def moved(
    moves: Sequence[Move], done: Sequence[Done], retries: int, *, may_copy: bool = False
) -> UnitResult:
    """Return the result of a unit of moves."""
    tally, failures = Tally(), []
    look: list[bytes] = []
    again: list[Move] = []
    untried: list[Move] = []
    across: list[Move] = []
    pause = False
    for move, ended in zip(moves, done, strict=True):
        if ended.outcome == Outcome.CHANGED:
            tally.changed += 1
        elif ended.outcome == Outcome.UNCHANGED:
            tally.compliant += 1
        elif ended.outcome == Outcome.GONE:
            tally.vanished += 1
        elif ended.outcome == Outcome.UNTRIED:
            untried.append(move)
        elif ended.outcome == Outcome.DIFFERENT and retries < RETRIES:
            look.append(move.path)
        elif ended.errno == errno.EXDEV and move.verb is Verb.MOVE and may_copy:
            across.append(replace(move, verb=Verb.CARRY))
        elif ended.errno in TRANSIENT and retries < RETRIES:
            again.append(move)
            pause = True
        else:
            tally.failed += 1
            failures.append(failure_of(move, ended))
    units = [
        *([survey.look_again(look, retries + 1)] if look else ()),
        *([moves_unit(again, retries + 1)] if again else ()),
        *([moves_unit(untried, retries)] if untried else ()),
        *([moves_unit(across, retries)] if across else ()),
    ]
    changed = [m for m, d in zip(moves, done, strict=True) if d.outcome == Outcome.CHANGED]
    return UnitResult(
        _packed(done),
        tally,
        failures,
        units,
        pause,
        attempted=len(done) - len(untried) - len(across),
        succeeded=tally.changed + tally.compliant,
        writes=[_count_classes(changed), *_copies(moves, done)],
    )


def all_moved(fast: Moved) -> UnitResult:
    """Return the result of a unit of moves that C has made, all of them."""
    counts = [(Class.MOVED_BLOCKS, fast.changed[Root.BLOCKS])]
    counts.append((Class.MOVED_MAPS, fast.changed[Root.MAPS]))
    number = len(fast.outcomes)
    return UnitResult(
        pack_outcome(Applied(fast.outcomes)),
        Tally(changed=number),
        attempted=number,
        succeeded=number,
        writes=[partial(add_counts, counts=[pair for pair in counts if pair[1]])],
    )


def failure_of(move: Move, ended: Done) -> Failure:
    """Return why an object could not be moved."""
    if ended.outcome == Outcome.DIFFERENT:
        return Failure(move.path, "move", errno.EAGAIN, "it is exchanged all the time", Hint.ENTRY)
    kind = FailureKind.NO_ROOM if ended.errno in NO_ROOM else FailureKind.ENTRY
    return Failure(move.path, ended.operation, ended.errno, ended.note, Hint.ENTRY, kind)


def _packed(done: Sequence[Done]) -> bytes:
    return pack_outcome(Applied(bytes(_kept_outcome(ended) for ended in done)))


def _kept_outcome(ended: Done) -> Outcome:
    """Return the outcome that undo is to know: what does not reach the new place is not there."""
    return Outcome.UNTRIED if ended.errno == errno.EXDEV else ended.outcome


def _count_classes(moves: Iterable[Move]) -> TablesWrite:
    counts = Counter(class_of(move) for move in moves)
    return partial(add_counts, counts=list(counts.items()))


def class_of(move: Move) -> Class:
    """Return the class of an object that is moved."""
    if move.verb is Verb.COPY:
        return Class.PITHOS_COPIED
    if move.root.is_pithos:
        return Class.PITHOS_MOVED
    if is_digest(move.name):
        return Class.MIGRATED
    if move.verb in (Verb.MOVE, Verb.CARRY):
        return Class.MOVED_MAPS if move.root is Root.MAPS else Class.MOVED_BLOCKS
    return Class.LINKED if move.verb is Verb.UNLINK else Class.MERGED


def _copies(moves: Sequence[Move], done: Sequence[Done]) -> list[TablesWrite]:
    changed = (pair for pair in zip(moves, done, strict=True) if pair[1].outcome == Outcome.CHANGED)
    copies = [(move, ended.copy) for move, ended in changed if ended.copy]
    if not copies:
        return []
    inodes = [(move.path, copied.inode) for move, copied in copies]
    carried = [(move.path, c.original) for move, c in copies if move.verb is Verb.CARRY]
    return [partial(put_copies, copies=inodes), partial(put_originals, originals=carried)]


def _map_at(path: bytes) -> MapToCheck:
    directory, _, name = path.rpartition(b"/")
    return MapToCheck(name, directory.partition(b"/")[2])
