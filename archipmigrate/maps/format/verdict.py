"""The verdict on a volume, by the matrix of its two maps, `foobar` and `archip_foobar`. Pure.

A `Volume` takes in the files found of it: maps first, then blocks in the order of their numbers. Of
the blocks it only knows up to which one all are there. Locks do not matter here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto

from ...layout.names import bad_name, map_name, shown
from ...layout.placement import Placement
from . import v2
from .head import EMPTY, Head

# Further files of one name are ignored; two make a conflict.
MOST_CANDIDATES = 4


class Result(StrEnum):
    """The result of a volume; in a dry run `would-upgrade` stands for `upgraded`."""

    PENDING = "pending"  # none yet
    UPGRADED = "upgraded"
    WOULD_UPGRADE = "would-upgrade"
    CURRENT = "current"
    INVALID = "invalid"
    SHADOWED = "shadowed"
    CONFLICT = "conflict"
    LEFTOVER = "leftover"
    LOCKED = "locked"
    MISPLACED = "misplaced"  # its objects lie where v0.4 does not look
    FAILED = "failed"


GOOD = (Result.UPGRADED, Result.CURRENT, Result.WOULD_UPGRADE)


class Plan(StrEnum):
    """How to upgrade a volume."""

    NONE = ""
    RENAME = "rename"  # v1 archip_foobar becomes v2 foobar
    IN_PLACE = "in place"  # v1 or v0 foobar becomes v2 in its own inode
    FINISH = "finish"  # v2 archip_foobar becomes foobar


@dataclass(frozen=True, slots=True)
class Verdict:
    """A volume's result so far, the reason, and the plan of its upgrade.

    `head` is that of the map that v0.4 opens, or would open once it is upgraded. `map_name` is the
    name of the map that decided.
    """

    result: Result
    reason: str = ""
    head: Head | None = None
    plan: Plan = Plan.NONE
    map_name: bytes = b""

    @property
    def target(self) -> v2.HeaderV2:
        """The header that the upgrade writes. Only for volumes with a plan."""
        assert self.head is not None  # noqa: S101 -- see above
        if self.plan is Plan.FINISH:
            return v2.HeaderV2(self.head.size, self.head.block_size, self.head.flags, epoch=1)
        if self.plan is Plan.RENAME:
            return v2.HeaderV2(self.head.size, epoch=1)
        flags = v2.MapFlag.READONLY if self.head.version == 0 else 0
        return v2.HeaderV2(self.head.size, flags=flags)


class _State(Enum):
    ABSENT = auto()
    LIVE = auto()
    DELETED = auto()
    OLD = auto()
    BAD = auto()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is a map by its name: where it lies, its inode, its head."""

    placement: Placement
    inode: int
    head: Head

    @property
    def is_placeholder(self) -> bool:
        """Whether v0.3 made this file when it was asked for a volume that did not exist.

        v0.4 does not look there, so it hides nothing.
        """
        return self.placement is Placement.V03 and self.head.reason == EMPTY


@dataclass(slots=True)
class Side:
    """One of a volume's two names, and the files found under it."""

    name: bytes
    prefixed: bool
    candidates: list[Candidate] = field(default_factory=list)
    complete: int = 0  # the first blocks that are all there and long enough
    _short: str = ""

    def add_map(self, candidate: Candidate) -> bool:
        """Take in a file; return False if it is not a map, and not where one would be."""
        if candidate.placement is Placement.ELSEWHERE and candidate.head.version is None:
            return False
        if candidate.is_placeholder:
            return False
        if len(self.candidates) < MOST_CANDIDATES:
            self.candidates.append(candidate)
        return True

    def add_block(self, number: int, placement: Placement, length: int) -> None:
        """Take in a block of *length* bytes (-1: not a regular file). Numbers must ascend."""
        head = self.head
        if head is None or head.version != v2.VERSION or placement is not Placement.V04:
            return
        if number == self.complete < head.header.blocks:
            needed = head.header.block_length(number)
            if length >= needed:
                self.complete += 1
            elif length < 0:
                self._short = f"block {number} is not a regular file"
            else:
                self._short = f"block {number} is cut off: {length:,} bytes of {needed:,}"

    @property
    def head(self) -> Head | None:
        """The head of the first file, which v0.4 finds first."""
        return self.candidates[0].head if self.candidates else None

    def conflict(self) -> str:
        """Return why the files of this name contradict each other, or ""."""
        if len({candidate.inode for candidate in self.candidates}) > 1:
            return f"there are two different files called {shown(self.name)}"
        return ""

    def state(self) -> tuple[_State, str]:
        """Return what is under this name, and the reason if that is BAD."""
        head = self.head
        if head is None:
            return _State.ABSENT, ""
        if why := self._fault(head):
            return _State.BAD, f"{shown(self.name)}: {why}"
        if head.version != v2.VERSION:
            return _State.OLD, ""
        return _State.DELETED if head.is_deleted else _State.LIVE, ""

    def _fault(self, head: Head) -> str:
        """Return why v0.4 could not open this map, or it cannot be upgraded; or ""."""
        if head.version is None:
            return head.reason
        if not self._is_found(head):
            return f"a v{head.version} map that lies where v0.4 does not look"
        if head.version != v2.VERSION or head.is_deleted or self.complete >= head.header.blocks:
            return ""
        return self._short or f"block {self.complete} of {head.header.blocks:,} is missing"

    def _is_found(self, head: Head) -> bool:
        found = {candidate.placement for candidate in self.candidates}
        if self.prefixed and head.version == v2.VERSION:
            return Placement.V04 in found
        return found != {Placement.ELSEWHERE}


class Volume:
    """A volume, and the files found of it."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.plain = Side(map_name(name, prefixed=False), prefixed=False)
        self.prefixed = Side(map_name(name, prefixed=True), prefixed=True)

    def side(self, *, prefixed: bool) -> Side:
        """Return one of the two names."""
        return self.prefixed if prefixed else self.plain

    @property
    def exists(self) -> bool:
        """Whether there is any map."""
        return bool(self.plain.candidates or self.prefixed.candidates)

    def owns_block(self, number: int, *, prefixed: bool) -> bool:
        """Whether a block belongs to one of the maps, or lies where an upgrade writes one."""
        head = self.side(prefixed=prefixed).head
        if head is None and not prefixed:
            head = self.prefixed.head
        if head is None or head.version is None or (prefixed and head.version != v2.VERSION):
            return False
        if head.version == v2.VERSION:
            return number < head.header.blocks
        return number < v2.HeaderV2(head.size).blocks

    def verdict(self) -> Verdict:
        """Return the verdict, once all files are taken in."""
        decides = self.plain if self.plain.candidates else self.prefixed
        return replace(self._verdict(), map_name=decides.name)

    def _verdict(self) -> Verdict:
        plain, prefixed = self.plain, self.prefixed
        head = plain.head if plain.head and plain.head.version is not None else prefixed.head
        head = head or plain.head
        if why := bad_name(self.name):
            return Verdict(Result.INVALID, why, head)
        if why := plain.conflict() or prefixed.conflict():
            return Verdict(Result.CONFLICT, why, head)
        return _judge(plain, prefixed, head)


def _judge(plain: Side, prefixed: Side, head: Head | None) -> Verdict:
    state, why = plain.state()
    other, other_why = prefixed.state()
    here, there = shown(plain.name), shown(prefixed.name)
    match state, other:
        case _State.ABSENT, _State.OLD:
            verdict = Verdict(Result.PENDING, "", prefixed.head, Plan.RENAME)
        case _State.ABSENT, _State.LIVE:
            verdict = Verdict(Result.PENDING, "", prefixed.head, Plan.FINISH)
        case _State.OLD, _State.ABSENT:
            verdict = Verdict(Result.PENDING, "", plain.head, Plan.IN_PLACE)
        case ((_State.LIVE | _State.DELETED), _State.ABSENT):
            verdict = Verdict(Result.CURRENT, "", head)
        case ((_State.ABSENT | _State.LIVE | _State.DELETED), _State.DELETED):
            reason = f"{there} is a map marked deleted, which v0.4 never removes"
            verdict = Verdict(Result.LEFTOVER, reason, head)
        case _State.LIVE, _:
            reason = f"v0.4 opens {here} and never sees {there}: keep the one that is right"
            verdict = Verdict(Result.SHADOWED, reason, head)
        case (_State.ABSENT, _State.BAD) | (_State.BAD, _State.ABSENT):
            verdict = Verdict(Result.INVALID, why or other_why, head)
        case _:
            what = _WHAT[state].format(why=why)
            reason = f"{here} is {what}, and {there} is there too: keep the one that is right"
            verdict = Verdict(Result.CONFLICT, reason, head)
    return verdict


_WHAT = {
    _State.DELETED: "marked deleted",
    _State.OLD: "an older map",
    _State.BAD: "unusable ({why})",
}
