"""What is to be done with what a walk finds, in each phase that walks.

    phase    known          gone             another inode          new
    link     -              -                -                      a second name, at once
    survey   -              kept aside       takes the new place    a second name
    look     old name goes  v0.3 lives       v0.3 lives             v0.3 lives

Nothing is done by the survey and the look themselves: what they judge waits in the journal.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..layout.names import LOCK, PREFIX
from ..packed.moves import Root, shown_path
from ..relocate.classify import Class, Verdict, classify
from ..relocate.places import sha256_directory
from ..relocate.roots import Roots, is_object, leads_out, status_beneath
from ..relocate.tables import MapToCheck
from ..tree.files import same_content
from .actions import Action, Verb, block_directory, block_name
from .judge import TAKEN, WRITTEN, conflict
from .keep import Keep, Shelf, opened
from .known import Known
from .walk import Finds, Here, Judge

# Classes of this job, beside those of relocate.
ALIVE = "v03-lives"
DELETED_V03, DELETED_V04, REMADE = "deleted-v03", "deleted-v04", "remade"
KEPT_ASIDE = (DELETED_V03, DELETED_V04, REMADE)
PRUNED = "pruned"
# What only a v0.3 that runs makes, or what it would serve.
OF_V03 = (Class.PLACEHOLDER, Class.LOCK, Class.STRAY, Class.MOVED, Class.CONFLICT)
NOT_REGULAR = "no regular file: left"
LINKED_OBJECT = "a symbolic link in place of an object: v0.3 followed it, nothing here does"


def verdict_of(here: Here) -> Verdict:
    """Return the class of a file that is no block at its old place."""
    mode, size = here.found.st_mode, here.found.st_size
    if stat.S_ISREG(mode):
        return classify(here.root, here.directory, here.name, size)
    if stat.S_ISLNK(mode) and classify(here.root, here.directory, here.name, 1).kind is Class.MOVED:
        return Verdict(Class.OUTSIDE, LINKED_OBJECT)
    return Verdict(Class.FOREIGN, NOT_REGULAR)


def _digest(here: Here) -> bytes:
    return bytes.fromhex(here.name.removeprefix(PREFIX).decode())


@dataclass(slots=True)
class LinkJudge(Judge):
    """Phase 1: new blocks get their second names; all else is for the survey."""

    direct = True

    def known(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Leave it: it has both names."""

    def gone(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Its volume was deleted: the survey sees to that."""

    def other(self, finds: Finds, here: Here, inode: int | None) -> None:
        """Link what is new."""
        if not stat.S_ISREG(here.found.st_mode):
            self.file(finds, here)
        elif inode is None:
            finds.actions.append(Action(Verb.LINK, _digest(here), here.found.st_ino))

    def file(self, finds: Finds, here: Here) -> None:
        """List it: what is not listed by now was made by a v0.3 that lives on."""
        verdict = verdict_of(here)
        if verdict.kind not in (Class.CURRENT, Class.PITHOS):
            finds.list(here.path, verdict.kind, verdict.note)


@dataclass(slots=True)
class SurveyJudge(LinkJudge):
    """Phase 2: v0.3 is stopped, and what it has done since is judged."""

    direct = False
    roots: Roots
    keep: Keep

    def gone(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Keep aside what v0.3 has deleted."""
        name = block_name(digest)
        kept = self._at_new_place(name)
        if kept is None or not is_object(kept, inode):
            finds.forget.append(digest)
            return
        if conflict(kept, None):
            finds.list(
                shown_path(Root.BLOCKS, sha256_directory(name), name), Class.CONFLICT, WRITTEN
            )
            finds.forget.append(digest)
            return
        finds.actions.append(Action(Verb.ASIDE, digest, inode))
        self._list_kept(finds, name, Shelf.DELETED_V03, DELETED_V03, kept.st_size)

    def other(self, finds: Finds, here: Here, inode: int | None) -> None:
        """Link what is new; give what was made again the new place."""
        if not stat.S_ISREG(here.found.st_mode):
            self.file(finds, here)
            return
        digest, ours = _digest(here), here.found.st_ino
        kept = self._at_new_place(here.name)
        if kept is None or kept.st_ino == ours:
            finds.actions.append(Action(Verb.LINK, digest, ours))
            return
        why = TAKEN if not stat.S_ISREG(kept.st_mode) else ""
        if not why and kept.st_ino == inode:
            why = conflict(kept, here.found)
        elif not why and not self._same(here, kept):
            why = TAKEN
        if why:
            finds.list(here.path, Class.CONFLICT, why)
            finds.forget.append(digest)
            return
        finds.actions.append(Action(Verb.REMAKE, digest, ours, kept.st_ino))
        self._list_kept(finds, here.name, Shelf.REMADE, REMADE, kept.st_size)

    def file(self, finds: Finds, here: Here) -> None:
        """List it; have maps moved."""
        verdict = verdict_of(here)
        if here.root is Root.MAPS:
            is_map = here.name.startswith(PREFIX) and not here.name.endswith(LOCK)
            if verdict.kind in (Class.CURRENT, Class.MOVED) and is_map:
                finds.volumes.append(MapToCheck(here.name, here.directory))
        if verdict.kind is Class.MOVED:
            self._map(finds, here)
        elif verdict.kind not in (Class.CURRENT, Class.PITHOS):
            finds.list(here.path, verdict.kind, verdict.note)

    def _map(self, finds: Finds, here: Here) -> None:
        there = status_beneath(self.roots[Root.MAPS], sha256_directory(here.name), here.name)
        if there is not None and there.st_ino != here.found.st_ino:
            finds.list(here.path, Class.CONFLICT, TAKEN)
            return
        action = Action(Verb.MAP, here.name, here.found.st_ino, directory=here.directory)
        finds.actions.append(action)

    def _at_new_place(self, name: bytes) -> os.stat_result | None:
        try:
            return status_beneath(self.roots[Root.BLOCKS], sha256_directory(name), name)
        except OSError as error:
            if leads_out(error):
                return None  # the action says why it cannot be done
            raise

    def _same(self, here: Here, kept: os.stat_result) -> bool:
        if here.found.st_size != kept.st_size:
            return False
        root = self.roots[Root.BLOCKS]
        with (
            opened(root.pin(here.directory)) as old,
            opened(root.pin(sha256_directory(here.name))) as new,
        ):
            return same_content(old, new, here.name)

    def _list_kept(self, finds: Finds, name: bytes, shelf: Shelf, kind: str, size: int) -> None:
        path = shown_path(Root.BLOCKS, self.keep.shelf(shelf, name), name)
        finds.list(path, kind, f"{size:,} bytes")
        finds.skipped -= 1  # the action counts it


@dataclass(slots=True)
class LookJudge(Judge):
    """Phase 4: a last look, at whether anything came to an old place since the survey."""

    roots: Roots
    listed: Known

    def known(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Have the old name go, if the new one is of the same inode, or v0.4 has removed it."""
        name = block_name(digest)
        there = status_beneath(self.roots[Root.BLOCKS], sha256_directory(name), name)
        if there is None or is_object(there, inode):
            finds.actions.append(Action(Verb.DROP, digest, inode))
        else:
            self._lives(finds, digest, "its two names are of different files")

    def gone(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Only v0.3 removes old names."""
        del inode
        self._lives(finds, digest, "its old name is gone")

    def other(self, finds: Finds, here: Here, inode: int | None) -> None:
        """Only v0.3 makes blocks there."""
        if inode is not None:
            self._lives(finds, _digest(here), "it was made again")
        elif not self.listed.is_listed(here.path):
            finds.list(here.path, ALIVE, "a new block")

    def file(self, finds: Finds, here: Here) -> None:
        """See whether v0.3 has made a lock, a placeholder, a map."""
        kind = verdict_of(here).kind
        if kind in OF_V03 and not self.listed.is_listed(here.path):
            finds.list(here.path, ALIVE, f"a new {'map' if kind is Class.MOVED else kind.value}")

    def _lives(self, finds: Finds, digest: bytes, note: str) -> None:
        name = block_name(digest)
        finds.list(shown_path(Root.BLOCKS, block_directory(digest), name), ALIVE, note)


@dataclass(slots=True)
class UnnameJudge(Judge):
    """The undo of phase 1: second names go. v0.3 may run."""

    direct = True

    def known(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Have the new name go."""
        finds.actions.append(Action(Verb.UNNAME, digest, inode))

    def gone(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Keep aside what v0.3 has deleted."""
        finds.actions.append(Action(Verb.ASIDE, digest, inode))

    def other(self, finds: Finds, here: Here, inode: int | None) -> None:
        """Keep aside the old inode of what was made again."""
        if inode is not None:
            finds.actions.append(Action(Verb.ASIDE, _digest(here), inode, here.found.st_ino))

    def file(self, finds: Finds, here: Here) -> None:
        """Leave it: it is none of ours."""
