"""Blocks that have two names because a run gave them the second: they are no hard links.

Such a block has one name where v0.3 looks and one where v0.4 looks, and no other: none lies outside
the share. With --hard-links skip a scan leaves it alone like any file with several names; it is
then scanned once more, by a unit of its own, which changes only pairs.

    scan          a file with two names: skipped
    is a pair     a unit of it, counted already, and not skipped any more
    scan of that  its change, by inode
    is a pair?    not any more: somebody exchanged it meanwhile; the change is dropped
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..jobs.registry import known_kind
from ..journal.runs import list_runs, open_run
from ..layout.names import is_v03_data
from ..layout.placement import sha256_dir, v03_dir
from ..model import Notice, Scan, Unit
from ..packed.changes import Flag, read_changes, with_flags
from ..packed.groups import Group, Hint, walk_unit
from ..share import Share, overlap
from ..tree.beneath import PIN, open_beneath

SKIPPED = "linked"  # the notice of a file with several names
# In front of the body of such a unit; that of any other begins with four zeros.
MARK = b"pair"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The directories of blocks that have pairs, as paths from the root of the share, open as `fd`.

    `blocks` is how many blocks have two names.
    """

    fd: int
    directories: Sequence[bytes]
    blocks: int

    @classmethod
    def of(cls, state: Path, share: Share) -> Pairs | None:
        """Return the pairs that runs have made in a share; None if there are none.

        Raises JournalError.
        """
        if share.fd < 0:
            return None
        directories, blocks = [], 0
        for path, number in _standing(state, share):
            within = os.path.relpath(os.fsencode(path), share.path)
            if within != b".." and not within.startswith(b"../"):
                directories.append(b"" if within == b"." else within)
                blocks += number
        return cls(share.fd, directories, blocks) if blocks and directories else None

    def are(self, path: bytes, inode: int = 0) -> bool:
        """Whether a path is one of two names, and there is no third. Raises OSError."""
        directory, _, name = path.rpartition(b"/")
        if not is_v03_data(name):
            return False
        old = v03_dir(name)
        places = {b"/".join(where) for where in (old, sha256_dir(name)) if where}
        for top in self.directories:
            both = {b"/".join(filter(None, (top, place))) for place in places}
            if directory in both and len(both) == 2:
                first, second = (self._status(b"/".join((place, name))) for place in both)
                is_pair = first is not None and first == second and first[1] == 2
                return is_pair and first is not None and inode in (0, first[0])
        return False

    def _status(self, path: bytes) -> tuple[int, int] | None:
        """Return inode and number of links."""
        try:
            fd = open_beneath(self.fd, path, PIN)
        except OSError:
            return None
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        return found.st_ino, found.st_nlink

    def without(self, scan: Scan, *, counted: bool) -> Scan:
        """Return a scan of which pairs are not skipped, but scanned again.

        *counted* is the unit's: what is scanned again was not counted as a hard link again.
        """
        mine = [n for n in scan.notices if n.kind == SKIPPED and self.are(n.path)]
        if not mine:
            return scan
        tally = replace(
            scan.tally,
            skipped=scan.tally.skipped - len(mine),
            hard_linked=scan.tally.hard_linked - (0 if counted else len(mine)),
        )
        rest = [notice for notice in scan.notices if notice not in set(mine)]
        again = [*scan.contested, _unit(mine)]
        return replace(scan, tally=tally, notices=rest, contested=again)

    def only(self, scan: Scan) -> Scan:
        """Return a scan of a marked unit without changes of what is no pair any more."""
        changes = list(read_changes(scan.preimage)) if scan.count else []
        others = [c.offset for c in changes if not self.are(c.path, c.inode)]
        tally = replace(scan.tally, hard_linked=0, skipped=scan.tally.skipped + len(others))
        if not others:
            return replace(scan, tally=tally)
        links = [link for link in scan.links if link.offset not in others]
        preimage = with_flags(scan.preimage, others, Flag.DROPPED)
        count = scan.count - len(others)
        return replace(scan, tally=tally, preimage=preimage, count=count, links=links)


def _unit(notices: Sequence[Notice]) -> Unit:
    groups = []
    for notice in notices:
        directory, _, name = notice.path.rpartition(b"/")
        groups.append(Group(directory, 0, ((Hint.ENTRY, name),)))
    unit = walk_unit(groups, counted=True)
    return replace(unit, body=MARK + unit.body)


def is_marked(unit: Unit) -> bool:
    """Whether a unit is one of pairs."""
    return unit.body.startswith(MARK)


def unmarked(unit: Unit) -> Unit:
    """Return a unit of pairs as any other."""
    return replace(unit, body=unit.body.removeprefix(MARK))


def _standing(state: Path, share: Share) -> Iterator[tuple[str, int]]:
    for header in list_runs(state):
        kind = known_kind(header)
        if kind is None or not kind.has_phases or header.undone or header.superseded:
            continue
        if overlap(share.places, header.places):
            with closing(open_run(state, header.run)) as journal:
                if number := kind.pairs(journal):
                    yield header.path, number
