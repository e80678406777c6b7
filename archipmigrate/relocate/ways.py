"""How an object gets to where v0.4 looks for it: moved, carried to another filesystem, or copied.

v0.3 looks for any name in Pithos' own trees first, so what lies there goes below the blocker's
directory: a name of 64 hex digits to Pithos' place, where v0.4 looks, too, and `archip_...` to the
place of its sha256. With `migrates` all of Pithos' objects go to that, as `pithos_migrate` of v0.4
moves them one by one when they are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..layout.names import is_digest
from ..packed.moves import Move, Root, Verb
from .borders import Borders
from .places import pithos_directory, sha256_directory, tree_directory, v03_directory
from .roots import Roots
from .tables import Crossing

SECTOR = 512  # bytes: the unit of st_blocks


@dataclass(slots=True)
class Ways:
    """The choices of a run. `removes`: what lies in Pithos' own trees is moved, not copied."""

    roots: Roots
    migrates: bool = False
    removes: bool = False
    _borders: Mapping[Root, Borders] = field(init=False)

    def __post_init__(self) -> None:
        """Read the mounts. Raises OSError."""
        self._borders = {root: Borders(opened) for root, opened in self.roots.items()}

    @property
    def has_mounts(self) -> bool:
        """Whether something below the roots is on another filesystem. Raises OSError."""
        return not all(borders.is_one() for borders in self._borders.values())

    @property
    def is_plain(self) -> bool:
        """Whether objects are moved from v0.3's places only, within the blocker's directories."""
        return not self.migrates and not any(root.is_pithos for root in self.roots)

    def move(self, root: Root, directory: bytes, name: bytes, inode: int) -> Move:
        """Return how an object goes to its new place, where nothing of its name lies."""
        new = self._new_directory(root, name)
        place = bytes.fromhex(new.replace(b"/", b"").decode())
        verb = Verb.MOVE
        if root.is_pithos:
            verb = Verb.CARRY if self.removes else Verb.COPY
        elif self._crosses(root, directory, new):
            verb = Verb.CARRY
        return Move(verb, root, directory, name, place, inode)

    def _new_directory(self, root: Root, name: bytes) -> bytes:
        pithos = pithos_directory(name) if root.is_pithos and not self.migrates else None
        return sha256_directory(name) if pithos is None else pithos

    def crossing(self, move: Move, found: os.stat_result) -> Crossing | None:
        """Return what is to be copied of an object; None if it is renamed."""
        new = move.new_directory
        if move.verb is not Verb.COPY and not self._crosses(move.root, move.directory, new):
            return None
        target = move.root.blocker
        return Crossing(
            _label(move.root, self._borders[move.root].top(move.directory)),
            _label(target, self._borders[target].top(new)),
            move.verb is Verb.CARRY,
            1,
            found.st_blocks * SECTOR,
        )

    def _crosses(self, root: Root, old: bytes, new: bytes) -> bool:
        here = self._borders[root].filesystem(old)
        return here != self._borders[root.blocker].filesystem(new)

    def other_places(self, move: Move) -> Iterator[tuple[Root, bytes]]:
        """Yield where else v0.3 or v0.4 would find an object of this name."""
        name, blocker = move.name, move.root.blocker
        if not move.root.is_pithos:
            if blocker.pithos in self.roots and not is_digest(name):
                yield blocker.pithos, tree_directory(name)
            return
        places = [v03_directory(name)]
        if is_digest(name):
            places = [sha256_directory(name), pithos_directory(name)]
        for place in places:
            if place is not None and place != move.new_directory:
                yield blocker, place


def _label(root: Root, path: bytes) -> bytes:
    return b"/".join((root.label, path)) if path else root.label
