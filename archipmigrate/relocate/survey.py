"""The survey: walks the directories of both blockers, and puts what it finds into the journal.

The groups of a unit are directories to walk (hint w), or names in one directory to look at (hint
e). Nothing is changed, and nothing is decided by where a file should be: each is judged where it
was found, and then its new place is looked at.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic

from ..layout.names import LOCK, OWN_DIRECTORY, PREFIX
from ..model import RETRIES, TRANSIENT, Failure, Limits, Scan, TablesWrite, Tally, Unit
from ..packed.groups import Group, Hint, unpack_groups, whole
from ..packed.moves import ROOTS, Move, Root, Twin, Verb, pack_moves, shown_path
from ..tree.beneath import open_beneath
from ..tree.files import DIRECTORY, same_content, status
from .classify import Class, classify
from .described import described, rival_note
from .native import NOTHING, Packed, Surveyed, survey_plain
from .roots import Roots, leads_out
from .tables import (
    Crossing,
    Found,
    MapToCheck,
    Waiting,
    add_counts,
    add_crossings,
    forget_found,
    put_found,
    put_volumes,
    put_waiting,
)
from .units import LOOK, kind_of, moves_unit, outside_unit, survey_groups, survey_unit
from .ways import Ways

# A directory with more names than this goes to all lanes in pieces of so many.
WIDE = 4096
MOST_MOVES = 20_000  # of one unit: about 2 MB
LINKED = "a symbolic link where a directory belongs: not followed"
LINKED_OBJECT = "a symbolic link in place of an object: v0.3 followed it, nothing here does"
LINKED_PITHOS = "a symbolic link in place of an object of Pithos: with pithos_migrate v0.4 fails"
SHARED = (
    "Pithos' own tree has the same file under another name: v0.4 would write into it; copy one of "
    "the two, or move it with --remove-source"
)
LINKED_PLACE = "a symbolic link, or a file, where its new directory belongs"
MOUNTED = "another filesystem is mounted here: not entered"
NOT_REGULAR = "no regular file: left"
TAKEN = "no regular file lies at its new place: both are kept"
OPERATION = "look"


def first_units(roots: Roots) -> Iterator[Unit]:
    """Yield what is above the maps, and the roots; the frontier takes the last one first."""
    yield outside_unit()
    for root in sorted(roots):
        yield survey_unit([whole(root.label)])


def retry_unit(failures: Sequence[Failure]) -> Unit:
    """Return the unit that looks again at what failed; it is counted already."""
    return survey_unit([_again_group(f.path, f.hint) for f in failures], counted=True)


def look_again(paths: Iterable[bytes], retries: int) -> Unit:
    """Return the unit that looks again at files, by the paths that are shown."""
    groups = [_again_group(path, Hint.ENTRY) for path in paths]
    return survey_unit(groups, retries=retries, counted=True, kind=LOOK)


def _again_group(path: bytes, hint: int) -> Group:
    if hint == Hint.WALK:
        return whole(path)
    directory, _, name = path.rpartition(b"/")
    return Group(directory, 0, ((Hint.ENTRY, name),))


@dataclass(slots=True)
class Survey:
    """Scans units of the survey; see the module. `ways` tells what is to be done with an object."""

    roots: Roots
    ways: Ways
    native: bool = False

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        """Walk directories until done or a limit is reached; `writes` put what was found."""
        walk = _Walk(self.roots, self.ways, unit, limits)
        if self.native and self.ways.is_plain and not unit.counted and not unit.retries:
            walk.take(survey_plain(self.roots, unit.body[1:], limits, MOST_MOVES, WIDE))
        else:
            walk.run()
        return walk.scan()


@dataclass(slots=True)
class _Walk:
    """One unit of the survey."""

    roots: Roots
    ways: Ways
    unit: Unit
    limits: Limits
    _todo: list[Group] = field(default_factory=list)
    _chunks: list[Group] = field(default_factory=list)
    _again: list[Group] = field(default_factory=list)
    _tally: Tally = field(default_factory=Tally)
    _failures: list[Failure] = field(default_factory=list)
    _moves: list[Move] = field(default_factory=list)
    _plain: Packed = NOTHING  # moves that C has found
    _directories: Counter[Root] = field(default_factory=Counter)
    _found: list[Found] = field(default_factory=list)
    _volumes: list[MapToCheck] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _seen: list[bytes] = field(default_factory=list)
    _crossings: list[Crossing] = field(default_factory=list)

    def run(self) -> None:
        until = monotonic() + self.limits.seconds
        self._todo = survey_groups(self.unit.body)
        first = True
        while self._todo and (first or not (self._is_full() or monotonic() >= until)):
            first = False
            self._look(self._todo.pop())

    def take(self, found: Surveyed) -> None:
        """Take over what C has found, and look at what it left."""
        self._plain = found.moves
        self._directories.update(found.directories)
        self._volumes += [MapToCheck(*pair) for pair in found.maps]
        for kind, number in ((Class.CURRENT, found.current), (Class.PITHOS, found.pithos)):
            if number:
                self._counts[kind] = number
                self._tally.compliant += number
        self._tally.entries = self._tally.files = found.moves.number + self._tally.compliant
        for group in unpack_groups(found.left):
            self._look(group)
        self._todo = [*unpack_groups(found.rest), *self._todo]

    def _look(self, group: Group) -> None:
        try:
            self._directory(group)
        except OSError as error:
            self._lost(group, error)

    def _is_full(self) -> bool:
        limits = self.limits
        is_full = len(self._moves) >= MOST_MOVES or self._tally.entries >= limits.entries
        return is_full or bool(limits.stop[0])

    def scan(self) -> Scan:
        """Return the result of the unit."""
        retries = self.unit.retries
        chunks = [self._unit([group], retries) for group in self._chunks]
        if self._moves and self._is_look:
            chunks.append(moves_unit(self._moves, retries))
        return Scan(
            self._tally,
            rest=self._unit(self._todo, retries) if self._todo else None,
            chunks=chunks,
            again=[self._unit(self._again, retries + 1)] if self._again else (),
            failures=self._failures,
            writes=list(self._writes()),
        )

    @property
    def _is_look(self) -> bool:
        return kind_of(self.unit.body) == LOOK

    def _unit(self, groups: Sequence[Group], retries: int) -> Unit:
        kind = kind_of(self.unit.body)
        return survey_unit(groups, retries=retries, counted=self.unit.counted, kind=kind)

    def _writes(self) -> Iterator[TablesWrite]:
        if self.unit.counted:
            yield partial(forget_found, paths=self._seen)
        if self._found:
            yield partial(put_found, found=self._found)
        if self._volumes:
            yield partial(put_volumes, maps=self._volumes)
        if self._counts:
            yield partial(add_counts, counts=list(self._counts.items()))
        number = self._plain.number + len(self._moves)
        if number and not self._is_look:
            packed = self._plain.moves + pack_moves(self._moves)
            blocks, maps = (self._directories[root] for root in (Root.BLOCKS, Root.MAPS))
            yield partial(put_waiting, waiting=Waiting(packed, number, blocks, maps))
        if self._crossings and not self._is_look:
            yield partial(add_crossings, crossings=self._crossings)

    # -- directories

    def _directory(self, group: Group) -> None:
        label, _, path = group.path.partition(b"/")
        root = ROOTS[label]
        fd = open_beneath(self.roots[root].fd, path, DIRECTORY)
        try:
            device = os.fstat(fd).st_dev
            names = [name for hint, name in group.names if hint == Hint.ENTRY]
            if not names:
                names = [os.fsencode(name) for name in os.listdir(fd)]
                if len(names) > WIDE:
                    self._cut(group.path, names)
                    return
            self.roots[root].note_filesystem(fd)
            for name in names:
                self._entry(root, path, fd, name, device)
        finally:
            os.close(fd)

    def _cut(self, path: bytes, names: list[bytes]) -> None:
        for at in range(0, len(names), WIDE):
            hinted = tuple((int(Hint.ENTRY), name) for name in names[at : at + WIDE])
            self._chunks.append(Group(path, 0, hinted))

    def _lost(self, group: Group, error: OSError) -> None:
        """Sort a directory that could not be read: gone, to be retried, or a failure."""
        number = error.errno or errno.EIO
        if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            self._tally.vanished += 1
        elif number in TRANSIENT and self.unit.retries < RETRIES:
            self._again.append(group)
        else:
            self._fail(group.path, number, Hint.WALK)

    def _fail(self, path: bytes, number: int, hint: Hint) -> None:
        if hint is Hint.ENTRY and not self.unit.counted:
            self._tally.entries += 1
            self._tally.files += 1
        self._tally.failed += 1
        self._failures.append(Failure(path, OPERATION, number, hint=hint))

    # -- entries

    def _entry(self, root: Root, directory: bytes, fd: int, name: bytes, device: int) -> None:
        path = shown_path(root, directory, name)
        try:
            found = status(fd, name)
            if found is None:
                self._tally.vanished += 1
            elif stat.S_ISDIR(found.st_mode) and name.startswith(OWN_DIRECTORY):
                pass  # what a run keeps aside
            elif stat.S_ISDIR(found.st_mode):
                if found.st_dev == device or is_layout_directory(directory, name):
                    self._todo.append(whole(path))
                else:
                    self._list(path, Class.OUTSIDE, MOUNTED)
            else:
                self._seen.append(path)
                self._file(root, directory, fd, name, found)
                self._count(found)  # last: what fails is looked at again
        except OSError as error:
            number = error.errno or errno.EIO
            if number in TRANSIENT and self.unit.retries < RETRIES:
                self._again.append(Group(path.rpartition(b"/")[0], 0, ((Hint.ENTRY, name),)))
            else:
                self._fail(path, number, Hint.ENTRY)

    def _count(self, found: os.stat_result) -> None:
        if not self.unit.counted:
            self._tally.entries += 1
            self._tally.files += stat.S_ISREG(found.st_mode)
            self._tally.others += not stat.S_ISREG(found.st_mode)

    def _file(
        self, root: Root, directory: bytes, fd: int, name: bytes, found: os.stat_result
    ) -> None:
        path = shown_path(root, directory, name)
        if not stat.S_ISREG(found.st_mode):
            self._odd(root, directory, name, found)
            return
        verdict = classify(root, directory, name, found.st_size)
        migrated = verdict.kind is Class.PITHOS and self.ways.migrates
        if verdict.kind in (Class.CURRENT, Class.PITHOS) and not migrated:
            self._tally.compliant += 1
            self._counts[verdict.kind] += 1
        elif verdict.kind is Class.MOVED or migrated:
            self._movable(root, directory, fd, name, found)
        else:
            self._list(path, verdict.kind, verdict.note, file=True)
            return
        if root.blocker is Root.MAPS and name.startswith(PREFIX) and not name.endswith(LOCK):
            self._volumes.append(MapToCheck(name, directory))

    def _odd(self, root: Root, directory: bytes, name: bytes, status_: os.stat_result) -> None:
        """List what is no regular file; a link where v0.3 looked for something leads outside."""
        path = shown_path(root, directory, name)
        kind, note = Class.FOREIGN, NOT_REGULAR
        if stat.S_ISLNK(status_.st_mode):
            if is_layout_directory(directory, name):
                kind, note = Class.OUTSIDE, LINKED
            elif (found := classify(root, directory, name, 1).kind) is Class.MOVED:
                kind, note = Class.OUTSIDE, LINKED_OBJECT
            elif found is Class.PITHOS and self.ways.migrates:
                kind, note = Class.OUTSIDE, LINKED_PITHOS
        self._list(path, kind, note)  # `others` are in no other count

    def _list(self, path: bytes, kind: Class, note: str = "", *, file: bool = False) -> None:
        self._found.append(Found(path, kind, note))
        self._tally.skipped += file

    # -- what is at v0.3's place

    def _movable(
        self, root: Root, directory: bytes, fd: int, name: bytes, found: os.stat_result
    ) -> None:
        move = self.ways.move(root, directory, name, found.st_ino)
        blocker = self.roots[root.blocker]
        if self._has_rival(move, fd, found):
            return
        try:
            new_fd = blocker.pin(move.new_directory)
        except FileNotFoundError:
            self._directories[root.blocker] += 1
            self._add(move, found)
            return
        except OSError as error:
            if not leads_out(error):
                raise
            self._list(move.path, Class.OUTSIDE, LINKED_PLACE, file=True)
            return
        try:
            blocker.note_filesystem(new_fd)
            there = status(new_fd, name)
            if there is None:
                self._add(move, found)
            else:
                self._at_both(move, (fd, found), (new_fd, there))
        finally:
            os.close(new_fd)

    def _add(self, move: Move, found: os.stat_result) -> None:
        self._moves.append(move)
        if crossing := self.ways.crossing(move, found):
            self._crossings.append(crossing)

    def _has_rival(self, move: Move, fd: int, found: os.stat_result) -> bool:
        """Whether another file is served under an object's name, so that it may not be moved."""
        for root, directory in self.ways.other_places(move):
            try:
                other = self.roots[root].pin(directory)
            except OSError as error:
                if isinstance(error, FileNotFoundError) or leads_out(error):
                    continue
                raise
            try:
                there = status(other, move.name)
                if there is None or not stat.S_ISREG(there.st_mode):
                    continue
                if not there.st_size and root is Root.MAPS:  # a placeholder
                    continue
                if same_content(fd, other, move.name):
                    if move.root.is_pithos:
                        self._here()
                        return True
                    continue
                note = rival_note(move, (fd, found), (other, there), shown_path(root, directory))
                self._list(move.path, Class.CONFLICT, note, file=True)
                return True
            finally:
                os.close(other)
        return False

    def _here(self) -> None:
        self._tally.compliant += 1
        self._counts[Class.PITHOS_HERE] += 1

    def _at_both(
        self,
        move: Move,
        old: tuple[int, os.stat_result],
        new: tuple[int, os.stat_result],
    ) -> None:
        """Judge an object that has both names; each is an open directory and a status."""
        (old_fd, here), (new_fd, there) = old, new
        copies = move.verb is Verb.COPY
        if not stat.S_ISREG(there.st_mode):
            self._list(move.path, Class.CONFLICT, TAKEN, file=True)
        elif os.path.samestat(here, there):
            if copies:
                self._list(move.path, Class.CONFLICT, SHARED, file=True)
            else:
                self._moves.append(replace(move, verb=Verb.UNLINK))
        elif here.st_size == there.st_size and same_content(old_fd, new_fd, move.name):
            if copies:
                self._here()
                return
            twin = Twin(there.st_ino, here.st_mode, here.st_uid, here.st_gid, here.st_mtime_ns)
            self._moves.append(replace(move, verb=Verb.MERGE, twin=twin))
        else:
            note = (
                f"here {described(old_fd, move.name, here)}; at the new place "
                f"{described(new_fd, move.name, there)}: both are kept"
            )
            self._list(move.path, Class.CONFLICT, note, file=True)


def is_layout_directory(directory: bytes, name: bytes) -> bool:
    """Whether v0.3 or v0.4 may look for objects in a directory of this name."""
    depth = directory.count(b"/") + 1 if directory else 0
    return len(name) == 2 and depth < 3
