"""The twins in C of what is done with each object (native/objects); they release the GIL.

Each does the plain cases only, and hands what else it meets to its twin in Python, which judges it:
so there is one place that knows all cases, and a share of odd files is only slower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..model import Limits, Outcome, StopFlag
from ..packed.moves import Move, Root
from .batch import Done
from .mover import Mover
from .roots import OpenRoot, Roots

with contextlib.suppress(ImportError):  # no C compiler where this was installed
    from .. import _native

LEFT = 255  # the outcome of a move that is for the twin
PARENTS = 256 + 65536  # directories of the first and second level
ROOTS = (Root.BLOCKS, Root.MAPS)
NativeRoot = tuple[int, int, int, int, bool, bytearray]


@dataclass(frozen=True, slots=True)
class Moved:
    """What C did with packed moves: an outcome for each, and how many of each root it moved."""

    outcomes: bytes
    changed: tuple[int, int]
    errno: int  # of the one that failed

    @property
    def is_all(self) -> bool:
        """Whether every object was moved."""
        return sum(self.changed) == len(self.outcomes)


@dataclass(slots=True)
class NativeMover:
    """Moves packed objects; *mover* does what is left. One object serves all lanes."""

    mover: Mover
    _parents: tuple[bytearray, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Know nothing of the directories in which new ones are made."""
        self._parents = tuple(bytearray(PARENTS) for _ in ROOTS)

    def move(self, packed: bytes, stop: StopFlag, deny_limit: int = 0) -> Moved:
        """Move the plain ones of packed objects, durably. Raises OSError as `Mover.apply` does."""
        blocks, maps = (self._root(root) for root in ROOTS)
        outcomes, changed, errno = _native.move_objects(
            blocks=blocks,
            maps=maps,
            moves=packed,
            back=self.mover.back,
            deny_limit=deny_limit,
            stop=stop,
        )
        for root in ROOTS:
            if changed[root]:
                self.mover.roots[root].sync()
        return Moved(outcomes, changed, errno)

    def _root(self, root: Root) -> NativeRoot:
        opened: OpenRoot = self.mover.roots[root]
        uid, gid = (-1 if number is None else number for number in (opened.uid, opened.gid))
        renames = self.mover.can_rename(root)
        return opened.fd, opened.umask, uid, gid, renames, self._parents[root]

    def complete(
        self, moves: Sequence[Move], moved: Moved, stop: StopFlag, deny_limit: int = 0
    ) -> list[Done]:
        """Have the twin do what is left; return how each move ended."""
        left = [m for m, o in zip(moves, moved.outcomes, strict=True) if o == LEFT]
        rest = iter(self.mover.apply(left, stop, 0 if any(moved.changed) else deny_limit))
        return [
            next(rest) if o == LEFT else self._done(move, Outcome(o), moved)
            for move, o in zip(moves, moved.outcomes, strict=True)
        ]

    def _done(self, move: Move, outcome: Outcome, moved: Moved) -> Done:
        if outcome is Outcome.FAILED:
            return Done(outcome, self.mover.operation(move), moved.errno)
        return Done(outcome)


@dataclass(frozen=True, slots=True)
class Packed:
    """Packed moves, and their number."""

    moves: bytes = b""
    number: int = 0


NOTHING = Packed()


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What C found in the directories of a unit: files, and (`rest`, `left`) packed groups.

    `directories` are new ones that the moves need. `maps` are names and directories. `rest` is
    what the limits left over, `left` is for the twin.
    """

    moves: Packed
    directories: dict[Root, int]
    maps: Sequence[tuple[bytes, bytes]]
    current: int
    pithos: int
    rest: bytes
    left: bytes


def survey_plain(roots: Roots, groups: bytes, limits: Limits, moves: int, wide: int) -> Surveyed:
    """Look at packed groups until done, a limit is reached, or *moves* are found.

    Notes in the `leaves` of the roots what it finds, and relies on it: nothing was moved yet.
    """
    packed, number, directories, maps, current, pithos, rest, left = _native.survey_objects(
        blocks=roots[Root.BLOCKS].fd,
        maps=roots[Root.MAPS].fd,
        blocks_leaves=roots[Root.BLOCKS].leaves,
        maps_leaves=roots[Root.MAPS].leaves,
        body=groups,
        seconds=limits.seconds,
        entries=limits.entries,
        moves=moves,
        wide=wide,
        stop=limits.stop,
    )
    needed = dict(zip(ROOTS, directories, strict=True))
    return Surveyed(Packed(packed, number), needed, maps, current, pithos, rest, left)


def check_plain(blocks: OpenRoot, entries: bytes) -> tuple[int, Sequence[int]]:
    """Look for the objects of entries of a v1 map, but for those of zeros.

    Return how many are where v0.4 looks, and which entries are for the twin.
    """
    return _native.check_objects(blocks.fd, entries)
