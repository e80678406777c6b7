"""Moves the objects of a batch, forward or back, so that each is under one name at every instant.

In one step where the filesystem can do that (renameat2 with RENAME_NOREPLACE). Elsewhere, as on
NFS, and where the object is at both places already:

    each object    linked at its new place (or there already)
    barrier        all new names are durable
    each object    its old name is removed
    barrier        that is durable, before the outcome is

A kill, or a power cut, leaves a name of the object at its old place, at its new one, or at both:

    old name       new name       it is                 settling
    the object     nothing        not begun             leaves it
    the object     the object     half done             removes the old name
    nothing        the object     done                  records it
    anything else                 changed by somebody   leaves it, reports it

Nothing is ever replaced: what else lies at the new place makes the object `Different`. What goes to
another filesystem, or is copied from Pithos' own tree, is left to `carry`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..model import StopFlag
from ..packed.moves import Move, Root, Verb
from ..tree.files import same_content, status
from ..tree.rename import rename_exclusive
from .batch import Done, settle, work_off
from .carry import VERBS as CARRIED
from .carry import Carrier, Copies, link
from .compare import is_v1_map
from .copying import SourceChanged, copy_file, sweep_part
from .roots import Roots, is_object, made, pinned, status_beneath
from .steps import Different, Gone, Step


@dataclass(slots=True)
class Mover:
    """Moves objects of open roots; with `back`, from their new places to their old ones.

    One object serves all lanes. `apply` and `settle` raise OSError if a barrier fails: what was
    done may then not be durable, and must be settled.
    """

    roots: Roots
    back: bool = False
    copies: Copies = lambda _: None  # of the run that is undone
    _links: set[Root] = field(default_factory=set)  # roots that cannot rename in one step
    _carrier: Carrier = field(init=False)

    def __post_init__(self) -> None:
        """Leave what goes to another filesystem, or is copied, to a carrier."""
        self._carrier = Carrier(self.roots, self.back, self.copies)

    def operation(self, move: Move) -> str:
        """Return what failures are reported with, of whichever object."""
        del move
        return "move back" if self.back else "move"

    def can_rename(self, root: Root) -> bool:
        """Whether objects below a root may be moved in one step, for all that is known."""
        return root not in self._links

    def apply(self, moves: Sequence[Move], stop: StopFlag, deny_limit: int = 0) -> list[Done]:
        """Move objects; return how each ended. After *stop* no other is begun.

        One that is at its new place already is `UNCHANGED`. After *deny_limit* refusals without a
        success no other is tried (0: no limit).
        """
        done = work_off(self, moves, stop, deny_limit)
        return [self._with_copy(move, ended) for move, ended in zip(moves, done, strict=True)]

    def settle(self, moves: Sequence[Move]) -> list[Done]:
        """Finish what is half done of a batch that was cut off; begin nothing.

        What is not begun is `UNCHANGED`.
        """
        done = settle(self, moves)
        return [self._with_copy(move, ended) for move, ended in zip(moves, done, strict=True)]

    def barrier(self, moves: Sequence[Move]) -> None:
        """Make durable what was done with objects. Raises OSError."""
        for root in {root for move in moves for root in (move.root, move.root.blocker)}:
            self.roots[root].sync()

    def _with_copy(self, move: Move, done: Done) -> Done:
        return replace(done, copy=self._carrier.made(move)) if move.verb in CARRIED else done

    # -- one object

    def begin(self, move: Move, *, settling: bool) -> Step:
        """Get an object to its place, or find out how far it is.

        Raises OSError, Gone, Different.
        """
        if move.verb is Verb.MOVE:
            return self._shift(self._adopted(move), settling=settling)
        if move.verb in CARRIED:
            return self._carrier.begin(move, settling=settling)
        return self._restore(move, settling) if self.back else self._may_drop(move, settling)

    def _adopted(self, move: Move) -> Move:
        """Return a move back with the inode that the map has now.

        The undo of `mapfiles` makes old maps anew: a v1 map of that name is what v0.3 looks for.
        """
        if not self.back or move.root is not Root.MAPS or move.verb is not Verb.MOVE:
            return move
        root = self.roots[move.root]
        for directory in (move.new_directory, move.directory):
            with contextlib.suppress(FileNotFoundError), pinned(root, directory) as fd:
                found = status(fd, move.name)
                if found is None:
                    continue
                is_other = stat.S_ISREG(found.st_mode) and found.st_ino != move.inode
                if is_other and is_v1_map(fd, move.name):
                    return replace(move, inode=found.st_ino)
                return move
        return move

    def _directories(self, move: Move) -> tuple[bytes, bytes]:
        """Return where the object is to leave, and where it is to be."""
        old, new = move.directory, move.new_directory
        return (new, old) if self.back else (old, new)

    def _shift(self, move: Move, *, settling: bool) -> Step:
        """Move an object that has one name."""
        root, (leaves, reaches) = self.roots[move.root], self._directories(move)
        with contextlib.ExitStack() as stack:
            here = None
            with contextlib.suppress(FileNotFoundError):
                source = stack.enter_context(pinned(root, leaves))
                here = status(source, move.name)
            if not is_object(here, move.inode):
                if is_object(status_beneath(root, reaches, move.name), move.inode):
                    return Step.ALREADY
                raise Gone if here is None else Different
            if settling:
                there = status_beneath(root, reaches, move.name)
                if there is None:
                    return Step.NOT_BEGUN
                if not is_object(there, move.inode):
                    raise Different
                return Step.HALF_DONE
            target = stack.enter_context(made(root, reaches))
            return self._shift_between(move, source, target)

    def _shift_between(self, move: Move, source: int, target: int) -> Step:
        try:
            if move.root not in self._links:
                if rename_exclusive(source, target, move.name):
                    self._check_moved(move, source, target)
                    return Step.MADE
                self._links.add(move.root)
            link(source, target, move.name)
        except FileExistsError:
            if is_object(status(target, move.name), move.inode):
                return Step.HALF_DONE
            raise Different from None
        return Step.HALF_DONE  # that it was the object is seen before the old name goes

    def _check_moved(self, move: Move, source: int, target: int) -> None:
        """Check that it was the object that moved; what somebody put in its place goes back."""
        found = status(target, move.name)
        if found is None:
            raise Gone
        if not is_object(found, move.inode):
            rename_exclusive(target, source, move.name)
            raise Different

    def _may_drop(self, move: Move, settling: bool) -> Step:
        """Check that the new place has what lets the old name go."""
        root, blocker = self.roots[move.root], self.roots[move.root.blocker]
        here = status_beneath(root, move.directory, move.name)
        there = status_beneath(blocker, move.new_directory, move.name)
        if not is_object(there, _new_inode(move)):
            raise Gone if here is None and there is None else Different
        if here is None:
            return Step.ALREADY
        if not is_object(here, move.inode):
            raise Different
        if settling:
            return Step.NOT_BEGUN
        if move.verb is Verb.MERGE:
            with (
                pinned(root, move.directory) as old,
                pinned(blocker, move.new_directory) as new,
            ):
                if not same_content(old, new, move.name):
                    raise Different
        return Step.HALF_DONE

    def finish(self, move: Move) -> None:
        """Remove the name that the object leaves, now that the other one is durable."""
        if move.verb in CARRIED:
            self._carrier.finish(move)
            return
        move = self._adopted(move)
        root, (leaves, _) = self.roots[move.root], self._directories(move)
        with pinned(root, leaves) as source:
            here = status(source, move.name)
            if not is_object(here, move.inode) or not self._is_kept(move, here):
                raise Different
            os.unlink(move.name, dir_fd=source)

    def _is_kept(self, move: Move, here: os.stat_result | None) -> bool:
        """Whether the object has another name, or its twin one, so that this one may go.

        Where somebody exchanged the object before it was linked, and put it back, it has not.
        """
        if move.verb is Verb.MERGE:
            blocker = self.roots[move.root.blocker]
            there = status_beneath(blocker, move.new_directory, move.name)
            return is_object(there, _new_inode(move))
        return here is not None and here.st_nlink > 1

    def _restore(self, move: Move, settling: bool) -> Step:
        """Give an object its old name again: of the same inode, or as a copy."""
        root, blocker = self.roots[move.root], self.roots[move.root.blocker]
        there = status_beneath(blocker, move.new_directory, move.name)
        here = status_beneath(root, move.directory, move.name)
        if not is_object(there, _new_inode(move)):
            raise Gone if there is None else Different
        if here is not None:
            if self._is_restored(move, here):
                return Step.ALREADY
            raise Different
        if settling:
            return Step.NOT_BEGUN
        with pinned(blocker, move.new_directory) as source, made(root, move.directory) as target:
            try:
                if move.twin is None:
                    link(source, target, move.name)
                else:
                    copy_file(source, target, move.name, move.twin)
            except (FileExistsError, SourceChanged):
                raise Different from None
        return Step.MADE

    def _is_restored(self, move: Move, here: os.stat_result) -> bool:
        root, blocker = self.roots[move.root], self.roots[move.root.blocker]
        if move.twin is None:
            return is_object(here, move.inode)
        with pinned(root, move.directory) as old, pinned(blocker, move.new_directory) as new:
            if not same_content(old, new, move.name):
                return False
            sweep_part(old, move.name)
            return True


def _new_inode(move: Move) -> int:
    return move.twin.inode if move.twin is not None else move.inode
