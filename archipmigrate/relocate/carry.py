"""Carries objects to where a rename may not reach: other filesystems, and from Pithos' own trees.

CARRY is a move: the object is renamed if that can be done in one step, else copied; the old one
goes once the copy is durable, and only if it is as it was when it was copied. COPY leaves it.
Backwards, CARRY carries the object to its old place, and COPY removes the copy if the original is
still its equal.

A copy has an inode of its own, which the journal keeps: it tells the copy from what somebody else
has put in its place. A kill leaves, beside a part under another name:

    original       new place      it is                 settling
    the object     nothing        not begun             removes the part
    the object     its equal      half done             CARRY: removes the original
    nothing        a file         done                  records it
    anything else                 changed by somebody   leaves it, reports it
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from ..packed.moves import Move, Root, Verb
from ..tree.files import same_content, status
from ..tree.rename import rename_exclusive
from .compare import is_v1_map
from .copying import Copied, Seen, SourceChanged, copy_file, sweep_part
from .roots import OpenRoot, Roots, is_object, made, pinned
from .steps import Different, Gone, Step

VERBS = (Verb.CARRY, Verb.COPY)
# The inode of the copy of an object, by the path that is shown; None if it has none.
Copies = Callable[[bytes], int | None]


@dataclass(frozen=True, slots=True)
class _Ends:
    """Where an object is to leave, and where it is to be: open roots and paths from them."""

    source: OpenRoot
    leaves: bytes
    target: OpenRoot
    reaches: bytes


@dataclass(frozen=True, slots=True)
class _Found:
    """An object's two places: open directories (None: not there), and what lies in them."""

    source: int | None
    here: os.stat_result | None
    target: int | None
    there: os.stat_result | None


@dataclass(frozen=True, slots=True)
class _Pending:
    """An object that has got to its place: its inode there, and the original as it was.

    `is_ours`: the file there is a copy that was just made.
    """

    inode: int
    original: Seen
    is_ours: bool = False


@dataclass(slots=True)
class Carrier:
    """Carries objects between open roots. One serves all lanes; an object is one lane's.

    With `back`, `copies` tells the copies of the run that is undone.
    """

    roots: Roots
    back: bool = False
    copies: Copies = lambda _: None
    _pending: dict[bytes, _Pending] = field(default_factory=dict)

    def begin(self, move: Move, *, settling: bool) -> Step:
        """Bring an object to where it is to be; what it leaves stays for `finish`.

        Raises Different, Gone, OSError.
        """
        ends = self._ends(move)
        with contextlib.ExitStack() as stack:
            found = self._look(stack, ends, move.name)
            if settling and found.target is not None:
                sweep_part(found.target, move.name)
            if self.back and move.verb is Verb.COPY:
                return self._drop_copy(move, found, settling=settling)
            if found.source is None or not self._is_original(move, found):
                return self._is_there(move, found)
            if found.there is not None:
                self._check_both(move, found)
                return _at_both(move.verb, settling=settling)
            if settling:
                return Step.NOT_BEGUN
            target = stack.enter_context(made(ends.target, ends.reaches))
            ends.target.note_filesystem(target)
            return self._carry(move, found.source, target)

    def finish(self, move: Move) -> None:
        """Remove what an object leaves, now that it is durable where it is to be.

        If somebody has written to it meanwhile, the copy goes again. Raises Different, OSError.
        """
        pending, ends = self._pending[move.path], self._ends(move)
        with (
            pinned(ends.source, ends.leaves) as source,
            pinned(ends.target, ends.reaches) as target,
        ):
            here, there = status(source, move.name), status(target, move.name)
            if not is_object(there, pending.inode):
                raise Different
            if here is None or Seen.of(here) != pending.original:
                if here is not None and pending.is_ours:
                    os.unlink(move.name, dir_fd=target)
                raise Different
            drops_copy = self.back and move.verb is Verb.COPY
            os.unlink(move.name, dir_fd=target if drops_copy else source)

    def made(self, move: Move) -> Copied | None:
        """Return what an object is at its new place, and was, once; None if that is not known."""
        pending = self._pending.pop(move.path, None)
        return None if pending is None else Copied(pending.inode, pending.original)

    # -- where it is

    def _ends(self, move: Move) -> _Ends:
        tree, blocker = self.roots[move.root], self.roots[move.root.blocker]
        if self.back and move.verb is Verb.CARRY:
            return _Ends(blocker, move.new_directory, tree, move.directory)
        return _Ends(tree, move.directory, blocker, move.new_directory)

    def _look(self, stack: contextlib.ExitStack, ends: _Ends, name: bytes) -> _Found:
        source = _open(stack, ends.source, ends.leaves)
        target = _open(stack, ends.target, ends.reaches)
        here = None if source is None else status(source, name)
        there = None if target is None else status(target, name)
        return _Found(source, here, target, there)

    def _is_original(self, move: Move, found: _Found) -> bool:
        """Whether a file is the one that is to be carried.

        A map that is carried back may be another v1 map of that name: see `Mover`.
        """
        inode = self.copies(move.path) if self.back else move.inode
        if is_object(found.here, inode or 0):
            return True
        is_map = self.back and move.root.blocker is Root.MAPS
        if not is_map or found.source is None or found.here is None:
            return False
        return stat.S_ISREG(found.here.st_mode) and is_v1_map(found.source, move.name)

    def _is_there(self, move: Move, found: _Found) -> Step:
        """Judge an object whose original is not at its place."""
        here, there = found.here, found.there
        if here is not None or there is None:
            raise Gone if here is None else Different
        if move.verb is not Verb.CARRY or not stat.S_ISREG(there.st_mode):
            raise Different
        self._keep(move, there, there)
        return Step.ALREADY

    def _check_both(self, move: Move, found: _Found) -> None:
        """Check that what lies at the new place beside the original is its equal."""
        here, there, source, target = found.here, found.there, found.source, found.target
        if here is None or there is None or source is None or target is None:
            raise Different
        is_same = os.path.samestat(here, there)
        if not stat.S_ISREG(there.st_mode) or (is_same and move.verb is Verb.COPY):
            raise Different  # of a copy's original only Pithos may keep a name
        if not is_same and not same_content(source, target, move.name):
            raise Different
        self._keep(move, there, here)

    def _keep(self, move: Move, there: os.stat_result, original: os.stat_result) -> None:
        self._pending[move.path] = _Pending(there.st_ino, Seen.of(original))

    # -- what is done

    def _carry(self, move: Move, source: int, target: int) -> Step:
        try:
            if move.verb is Verb.CARRY and (step := self._renamed(move, source, target)):
                return step
            copied = copy_file(source, target, move.name)
        except (FileExistsError, SourceChanged):
            raise Different from None
        self._pending[move.path] = _Pending(copied.inode, copied.original, is_ours=True)
        return Step.MADE if move.verb is Verb.COPY else Step.HALF_DONE

    def _renamed(self, move: Move, source: int, target: int) -> Step | None:
        """Rename an object, or link it (NFS), if both places are on one filesystem."""
        before = os.stat(move.name, dir_fd=source, follow_symlinks=False)
        try:
            is_moved = rename_exclusive(source, target, move.name)
            if not is_moved:
                link(source, target, move.name)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return None
            raise
        found = os.stat(move.name, dir_fd=target, follow_symlinks=False)
        if is_moved and found.st_ino != before.st_ino:  # somebody exchanged it: it goes back
            rename_exclusive(target, source, move.name)
            raise Different
        self._keep(move, found, found)
        return Step.MADE if is_moved else Step.HALF_DONE

    def _drop_copy(self, move: Move, ends: _Found, *, settling: bool) -> Step:
        """See that a copy may go: it is ours, and the original is there and its equal."""
        if ends.there is None or ends.target is None:
            return Step.ALREADY
        if ends.here is None or ends.source is None:
            raise Different
        if not is_object(ends.there, self.copies(move.path) or 0):
            raise Different
        if settling:
            return Step.NOT_BEGUN
        if not same_content(ends.source, ends.target, move.name):
            raise Different
        self._keep(move, ends.there, ends.here)
        return Step.HALF_DONE


def _at_both(verb: Verb, *, settling: bool) -> Step:
    """Return how far an object is of which an equal is at its new place."""
    if verb is Verb.CARRY:
        return Step.HALF_DONE
    return Step.MADE if settling else Step.ALREADY


def _open(stack: contextlib.ExitStack, root: OpenRoot, path: bytes) -> int | None:
    """Open a directory for as long as *stack* lasts; None if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        fd = stack.enter_context(pinned(root, path))
        root.note_filesystem(fd)
        return fd
    return None


def link(source: int, target: int, name: bytes) -> None:
    """Give a file a name in another open directory. Raises OSError."""
    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
