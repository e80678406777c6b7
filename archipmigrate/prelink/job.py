"""The prelink job: each phase is units of walks, or of actions that wait, until its next one.

What a phase has judged waits in the journal before any of it is done; a run that is resumed goes on
with that, and judges nothing anew.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..engine.job import Job, UnitResult
from ..errors import FatalError, ShareError
from ..jobs.outcome import pack_outcome
from ..journal import counting
from ..journal.store import Journal
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
from ..packed.moves import Root, shown_path
from ..relocate import missing
from ..relocate.batch import Done
from ..relocate.roots import Roots
from ..relocate.tables import (
    Found,
    MapToCheck,
    Waiting,
    end_waiting,
    found_paths,
    put_found,
    put_volumes,
    put_waiting,
    volumes_to_check,
    waiting_moves,
)
from ..relocate.units import CHECK, Reading, check_unit, kind_of
from ..relocate.units import split as split_check
from ..ui.text import count, quoted
from .actions import Action, Verb, pack_actions, unpack_actions
from .judges import ALIVE, DELETED_V04, LinkJudge, LookJudge, SurveyJudge
from .keep import Keep, Shelf
from .known import Known
from .maps import AllSteps
from .phases import RESTS, Phase
from .room import lacking_room
from .tables import (
    Linked,
    MovedMap,
    end_walk,
    forget_maps,
    forget_objects,
    forget_waiting,
    loaded,
    moved_maps,
    put_maps,
    put_objects,
    put_undone,
    put_walks,
    retry_undone,
    set_standing,
    standing,
    walks,
)
from .walk import OPERATION, WALK, Judge, Walk, walk_unit

ACTIONS = b"A"
AT_ONCE = 20_000  # actions, or maps, that are in the frontier at once
IN_A_UNIT = 64  # maps
IN_A_ROW = 5_000  # actions that wait in one row
# What `walk` holds in phase `back`, before actions wait: what is to return.
RETURN_MAPS, RETURN_NAMES = b"maps", b"names"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
EXCHANGED = "somebody exchanged it, or what is at its other place: left as it is"


@dataclass(slots=True)
class PrelinkJob(Job[Scan]):
    """See the module. `phase` is that of the session's beginning, and follows the journal's."""

    roots: Roots
    keep: Keep
    known: Known
    phase: Phase
    since: int
    dry_run: bool = False
    steps: AllSteps = field(init=False)

    def __post_init__(self) -> None:
        """Do actions in these roots."""
        self.steps = AllSteps(self.roots, self.keep)

    def first_units(self) -> Iterable[Unit]:
        """Yield nothing: `next_units` says what a phase begins with."""
        return ()

    # -- from one phase to the next

    def next_units(self, journal: Journal) -> Sequence[Unit]:
        """Yield units of the phase; go on to the next one that needs nobody's leave."""
        while True:
            units = self._units(journal)
            if units or next(journal.failures(), None) is not None:
                return units
            following = self._following(journal)
            if following is self.phase:
                return ()
            now = standing(journal)
            if self.phase is Phase.BACK:  # the next survey, or pass, reads everything
                now = replace(now, passed=0)
            set_standing(journal, replace(now, phase=following))
            self.phase = following
            if following in RESTS:
                return ()

    def _units(self, journal: Journal) -> Sequence[Unit]:
        if self.phase is Phase.BACK:
            self._let_return(journal)
        if todo := walks(journal):
            return [walk_unit(root, top) for root, top in todo]
        if self.phase in (Phase.SWITCH, Phase.DROP, Phase.BACK):
            waiting = waiting_moves(journal, AT_ONCE)
            if units := [_actions_unit(row.body, row.moves, row.row) for row in waiting]:
                return units
        if self.phase is Phase.SWITCH:
            maps = [Reading(found) for found in volumes_to_check(journal, AT_ONCE)]
            return [check_unit(maps[at : at + IN_A_UNIT]) for at in range(0, len(maps), IN_A_UNIT)]
        return ()

    def _following(self, journal: Journal) -> Phase:
        """Return the phase that follows, now that this one has no units left.

        Raises FatalError if v0.3 lives.
        """
        if self.phase is Phase.LINK:
            now = standing(journal)
            set_standing(journal, replace(now, passed=now.began))
        elif self.phase is Phase.SURVEY:
            return Phase.SWITCH
        elif self.phase is Phase.SWITCH:
            return Phase.LINKED
        elif self.phase is Phase.LOOK:
            self._check_stopped(journal)
            return Phase.DROP
        elif self.phase is Phase.DROP:
            return Phase.DROPPED
        elif self.phase is Phase.BACK:
            return Phase.LINK
        return self.phase

    def _check_stopped(self, journal: Journal) -> None:
        """Raise FatalError if something has come to the old places; the run is `linked` again."""
        paths = found_paths(journal, ALIVE, 1_000_000)
        if paths:
            forget_waiting(journal)
            set_standing(journal, replace(standing(journal), phase=Phase.LINKED))
            raise FatalError(
                f"a v0.3 still runs, or ran since: {count(len(paths), 'file')} at its places, such "
                f"as {quoted(paths[0])}; no old name was removed: stop it, see what it wrote, and "
                "go back with --back if that is needed"
            )

    def _let_return(self, journal: Journal) -> None:
        """Have old names and maps wait, that are to return."""
        marks = {name for root, name in walks(journal) if root is Root.MAPS}
        if RETURN_NAMES in marks:
            rows = journal.select("SELECT digest, inode FROM object")
            _wait(journal, (Action(Verb.RELINK, d, loaded(inode)) for d, inode in rows))
        if RETURN_MAPS in marks:
            maps = list(moved_maps(journal))
            _wait(journal, (Action(Verb.MAP_BACK, m.name, m.inode, 0, m.directory) for m in maps))
        for mark in marks:
            end_walk(journal, Root.MAPS, mark)

    # -- units

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Walk, take the actions of a unit, or look for the objects of maps."""
        kind = kind_of(unit.body)
        if kind == WALK:
            return self._walk(unit, limits)
        if kind == CHECK:
            return missing.Checker(self.roots, has=self.known.has).scan(unit, limits)
        row = int.from_bytes(unit.body[1:9], "little")
        writes: list[TablesWrite] = [partial(end_waiting, row=row)] if row else []
        number = unit.entries
        tally = Tally() if unit.counted else _files(number)
        return Scan(tally, ACTIONS + unit.body[9:], number, writes=writes, operations=number)

    def _walk(self, unit: Unit, limits: Limits) -> Scan:
        since = 0 if self.phase is Phase.LINK else self.since
        scan = Walk(self.roots, self.known, self._judge(), unit, limits, since).scan()
        if self.phase is Phase.LINK and scan.count and not self.dry_run:
            self._leave_room(scan.count)
        return scan

    def _judge(self) -> Judge:
        if self.phase is Phase.LINK:
            return LinkJudge()
        if self.phase is Phase.SURVEY:
            return SurveyJudge(self.roots, self.keep)
        return LookJudge(self.roots, self.known)

    def _leave_room(self, number: int) -> None:
        """Raise ShareError before the guests of v0.3 run out of room."""
        if why := lacking_room(self.roots[Root.BLOCKS].fd, number):
            raise ShareError(why)

    def split(self, unit: Unit, parts: int) -> Sequence[Unit]:
        """Cut a unit of maps; others are small."""
        return split_check(unit, parts) if kind_of(unit.body) == CHECK else [unit]

    def retry(self, journal: Journal, failures: Sequence[Failure]) -> Iterable[Unit]:
        """Have what failed walked, done or read again."""
        retry_undone(journal)
        for failure in failures:
            root, top, *_ = [*failure.path.split(b"/", 2), b""]
            if failure.operation == OPERATION:
                kind = Root.MAPS if root == Root.MAPS.label else Root.BLOCKS
                put_walks(journal, kind, [top])
            elif failure.operation == missing.OPERATION:
                directory, _, name = failure.path.rpartition(b"/")
                found = MapToCheck(name, directory.partition(b"/")[2])
                put_volumes(journal, [found])
        return ()

    # -- actions

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        """Do actions. Raises OSError if what was done may not be durable."""
        actions = list(unpack_actions(scan.preimage[1:]))
        done = self.steps.apply(actions, stop, deny_limit)
        return self._result(actions, done, retries)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        """Finish what a killed session left half done.

        A walk does not find again what is linked now; the actions of a unit are taken again.
        """
        del stop  # a batch has few that are half done
        actions = list(unpack_actions(preimage[1:]))
        done = self.steps.settle(actions)
        ended = [a for a, d in zip(actions, done, strict=True) if d.outcome == Outcome.CHANGED]
        number = len(ended)
        is_walk = preimage[:1] == WALK
        tally = replace(_files(number), changed=number) if is_walk else counting.settled(number)
        return UnitResult(_packed(done), tally, writes=list(self._writes(ended)))

    def _result(self, actions: Sequence[Action], done: Sequence[Done], retries: int) -> UnitResult:
        tally, failures = Tally(), []
        again: list[Action] = []
        untried: list[Action] = []
        undone: list[Action] = []
        ended_well: list[Action] = []
        for action, ended in zip(actions, done, strict=True):
            if ended.outcome in (Outcome.CHANGED, Outcome.UNCHANGED):
                tally.changed += ended.outcome == Outcome.CHANGED
                tally.compliant += ended.outcome == Outcome.UNCHANGED
                ended_well.append(action)
            elif ended.outcome == Outcome.GONE and action.verb is not Verb.MAP_BACK:
                tally.vanished += 1
            elif ended.outcome == Outcome.UNTRIED:
                untried.append(action)
            elif ended.outcome == Outcome.DIFFERENT and self._is_for_survey(action):
                tally.skipped += 1
            elif ended.errno in TRANSIENT and retries < RETRIES:
                again.append(action)
            else:
                tally.failed += 1
                undone.append(action)
                failures.append(_failure(action, ended))
        units = [
            *(
                [_actions_unit(pack_actions(again), len(again), retries=retries + 1)]
                if again
                else ()
            ),
            *(
                [_actions_unit(pack_actions(untried), len(untried), retries=retries)]
                if untried
                else ()
            ),
        ]
        writes = list(self._writes(ended_well))
        if undone:
            writes.append(partial(put_undone, body=pack_actions(undone), actions=len(undone)))
        return UnitResult(
            _packed(done),
            tally,
            failures,
            [replace(unit, counted=True) for unit in units],
            bool(again),
            attempted=len(done) - len(untried),
            succeeded=tally.changed + tally.compliant,
            writes=writes,
        )

    def _is_for_survey(self, action: Action) -> bool:
        """Whether v0.3, which runs, may have exchanged the object: the survey will judge it."""
        return self.phase is Phase.LINK and action.verb is Verb.LINK

    def _writes(self, actions: Sequence[Action]) -> Iterable[TablesWrite]:
        """Yield what is known now, by the actions that were done."""
        linked = [Linked(a.key, a.inode) for a in actions if a.verb in (Verb.LINK, Verb.REMAKE)]
        gone = [a.key for a in actions if a.verb in (Verb.ASIDE, Verb.UNNAME)]
        kept: list[Found] = []
        for action in actions:
            size = self.steps.last_names.pop(action.key, None) if action.verb is Verb.DROP else None
            if size is not None:
                gone.append(action.key)
                directory = self.keep.shelf(Shelf.DELETED_V04, action.name)
                path = shown_path(Root.BLOCKS, directory, action.name)
                kept.append(Found(path, DELETED_V04, f"{size:,} bytes"))
        maps = [MovedMap(a.key, a.directory, a.inode) for a in actions if a.verb is Verb.MAP]
        back = [a.key for a in actions if a.verb is Verb.MAP_BACK]
        if linked:
            yield partial(put_objects, objects=linked)
        if gone:
            yield partial(forget_objects, digests=gone)
        if kept:
            yield partial(put_found, found=kept)
        if maps:
            yield partial(put_maps, maps=maps)
        if back:
            yield partial(forget_maps, names=back)


def _actions_unit(body: bytes, actions: int, row: int = 0, retries: int = 0) -> Unit:
    return Unit(ACTIONS + row.to_bytes(8, "little") + body, actions, retries)


def _wait(journal: Journal, actions: Iterable[Action]) -> None:
    """Have actions wait, so many in a row."""
    row: list[Action] = []
    for action in actions:
        row.append(action)
        if len(row) == IN_A_ROW:
            put_waiting(journal, Waiting(pack_actions(row), len(row)))
            row.clear()
    if row:
        put_waiting(journal, Waiting(pack_actions(row), len(row)))


def _failure(action: Action, ended: Done) -> Failure:
    if ended.outcome in (Outcome.DIFFERENT, Outcome.GONE):
        word = action.verb.name.lower().replace("_", " ")
        number = errno.EAGAIN if ended.outcome == Outcome.DIFFERENT else errno.ENOENT
        return Failure(action.path, word, number, EXCHANGED, Hint.ENTRY)
    kind = FailureKind.NO_ROOM if ended.errno in NO_ROOM else FailureKind.ENTRY
    return Failure(action.path, ended.operation, ended.errno, ended.note, Hint.ENTRY, kind)


def _files(number: int) -> Tally:
    return Tally(entries=number, files=number)


def _packed(done: Sequence[Done]) -> bytes:
    return pack_outcome(Applied(bytes(ended.outcome for ended in done)))
