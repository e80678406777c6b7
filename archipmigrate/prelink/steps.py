"""Does actions, a batch at a time, so that a kill at any instant leaves what `settle` can finish.

    each action    begin: new names, copies; what one step can do is done
    barrier        all of that is durable
    each action    finish: names go, or are exchanged
    barrier        that is durable, before the outcome is

No name is ever given to anything but the inode that is meant, no name of anything else is removed,
and no last name of an inode. An object that was made again, I over the old inode J:

    new place   temporary name   kept aside   it is                  next
    J           -                -            not begun              link I to the temporary name
    J           I                -            begun                  exchange both names
    I           J                -            exchanged              move J aside
    I           -                J            done

Where names cannot be exchanged (NFS), J is linked aside and synced, and I renamed over its name.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..backend.python import statx
from ..errors import ShareError
from ..model import StopFlag
from ..packed.moves import Root
from ..relocate.batch import Done, settle, work_off
from ..relocate.copying import part_name
from ..relocate.roots import Roots, is_object, status_beneath
from ..relocate.steps import Different, Gone, Step
from ..tree.beneath import PIN
from ..tree.files import status
from ..tree.rename import exchange, rename_exclusive
from .actions import Action, Verb
from .keep import Keep, Shelf, opened

# A session that ends with this made no second name, and will make none: see the command.
CROSSES = (
    "a second name cannot be given across filesystems, quotas or subvolumes: nothing is copied "
    "while v0.3 runs; use relocate without --prelink"
)


@dataclass(slots=True)
class Steps:
    """Does actions in open roots; one object serves all lanes.

    `last_names` has the sizes of blocks of which v0.4 had left only the old name, by digest, for
    whoever takes them out. `apply` and `settle` raise OSError if a barrier fails, and ShareError if
    links lead to another filesystem.
    """

    roots: Roots
    keep: Keep
    _cannot_exchange: set[Root] = field(default_factory=set)
    _cannot_rename: set[Root] = field(default_factory=set)
    last_names: dict[bytes, int] = field(default_factory=dict)

    def apply(self, actions: Sequence[Action], stop: StopFlag, deny_limit: int = 0) -> list[Done]:
        """Do actions; return how each ended, UNCHANGED if all was as it should be.

        After *stop*, or *deny_limit* refusals without a success (0: no limit), none is begun.
        """
        return work_off(self, actions, stop, deny_limit)

    def settle(self, actions: Sequence[Action]) -> list[Done]:
        """Finish what is half done of a batch that was cut off; what is not begun is UNCHANGED."""
        return settle(self, actions)

    def operation(self, action: Action) -> str:
        """Return what a failure is reported with."""
        return action.verb.name.lower().replace("_", " ")

    def barrier(self, actions: Sequence[Action]) -> None:
        """Make durable what was done. Raises OSError."""
        for root in {action.root for action in actions}:
            self.roots[root].sync()

    def begin(self, action: Action, *, settling: bool) -> Step:
        """Begin an action, or find out how far it came. Raises OSError, Gone, Different."""
        match action.verb:
            case Verb.LINK:
                return self._link(action, action.old, action.new, settling=settling)
            case Verb.RELINK:
                return self._link(action, action.new, action.old, settling=settling)
            case Verb.REMAKE:
                return self._remake(action, settling=settling)
            case Verb.ASIDE:
                return self._shift(action, action.new, self._aside(action), settling=settling)
            case Verb.DROP | Verb.UNNAME:
                return self._drop(action, settling=settling)
            case _:
                raise AssertionError(action.verb)

    def finish(self, action: Action) -> None:
        """Finish what is half done, now that its new names are durable."""
        match action.verb:
            case Verb.REMAKE:
                self._take_place(action)
            case Verb.ASIDE:
                self._leave(action, action.new)
            case Verb.DROP | Verb.UNNAME:
                self._leave(action, _leaves(action))
            case _:
                raise AssertionError(action.verb)

    def _aside(self, action: Action) -> bytes:
        """Return the directory in which what an action takes away is kept."""
        if action.verb is Verb.DROP:
            return self.keep.shelf(Shelf.DELETED_V04, action.name)
        remade = action.verb is Verb.REMAKE or (action.verb is Verb.ASIDE and action.other)
        return self.keep.shelf(Shelf.REMADE if remade else Shelf.DELETED_V03, action.name)

    # -- a second name

    def _link(self, action: Action, has: bytes, gets: bytes, *, settling: bool) -> Step:
        root, name = self.roots[action.root], action.name
        there = status_beneath(root, gets, name)
        if is_object(there, action.inode):
            return Step.ALREADY
        here = status_beneath(root, has, name)
        if there is not None or (here is not None and not is_object(here, action.inode)):
            raise Different
        if here is None:
            raise Gone
        if settling:
            return Step.NOT_BEGUN
        with opened(root.pin(has)) as source, opened(root.pin_made(gets)) as target:
            try:
                link_as(source, name, target, name)
            except OSError as error:
                if error.errno == errno.EXDEV and action.verb is Verb.LINK:
                    raise ShareError(CROSSES) from None
                raise
            _check_linked(target, name, action.inode)
        return Step.MADE

    # -- made again

    def _remake(self, action: Action, *, settling: bool) -> Step:
        root, name, part = self.roots[action.root], action.name, part_name(action.name)
        with opened(root.pin(action.new)) as new:
            there, between = status(new, name), status(new, part)
            if is_object(there, action.inode):
                return Step.HALF_DONE if is_object(between, action.other) else Step.ALREADY
            if not is_object(there, action.other):
                raise Gone if there is None else Different
            if not is_object(status_beneath(root, action.old, name), action.inode):
                raise Different
            if between is None:
                if settling:
                    return Step.NOT_BEGUN
                with opened(root.pin(action.old)) as old:
                    link_as(old, name, new, part)
                _check_linked(new, part, action.inode)
            elif not is_object(between, action.inode):
                raise Different
        os.close(root.pin_made(self._aside(action)))
        return Step.HALF_DONE

    def _take_place(self, action: Action) -> None:
        """Give the new place to the new inode, and move the old one aside."""
        root, name, part = self.roots[action.root], action.name, part_name(action.name)
        with opened(root.pin(action.new)) as new, opened(root.pin(self._aside(action))) as aside:
            if is_object(status(new, name), action.other):
                self._exchange(action, new, aside)
            if is_object(status(new, part), action.other):
                self.move(action, new, part, aside, action.other)
            elif not is_object(status(aside, name), action.other):
                raise Different

    def _exchange(self, action: Action, new: int, aside: int) -> None:
        name, part = action.name, part_name(action.name)
        if action.root not in self._cannot_exchange:
            if exchange(new, part, name):
                is_right = is_object(status(new, name), action.inode)
                if not (is_right and is_object(status(new, part), action.other)):
                    exchange(new, part, name)
                    raise Different
                return
            self._cannot_exchange.add(action.root)
        if status(aside, name) is None:
            link_as(new, name, aside, name)
        _check_linked(aside, name, action.other)
        self.roots[action.root].sync()
        if not is_object(status(new, part), action.inode):
            raise Different
        os.rename(part, name, src_dir_fd=new, dst_dir_fd=new)

    # -- from one place to another

    def _shift(self, action: Action, leaves: bytes, reaches: bytes, *, settling: bool) -> Step:
        root, name = self.roots[action.root], action.name
        here, there = status_beneath(root, leaves, name), status_beneath(root, reaches, name)
        if not is_object(here, action.inode):
            if is_object(there, action.inode):
                return Step.ALREADY
            raise Gone if here is None else Different
        if is_object(there, action.inode):
            return Step.HALF_DONE
        if there is not None:
            raise Different
        if settling:
            return Step.NOT_BEGUN
        with opened(root.pin(leaves)) as source, opened(root.pin_made(reaches)) as target:
            return self.move(action, source, name, target, action.inode, half=True)

    def move(
        self,
        action: Action,
        source: int,
        name: bytes,
        target: int,
        inode: int,
        *,
        half: bool = False,
    ) -> Step:
        """Move *name* under the object's name, in one step if possible.

        With *half*, what was linked keeps its first name for now; else that is removed once the
        other one is durable.
        """
        root, becomes = self.roots[action.root], action.name
        if action.root not in self._cannot_rename and status(target, becomes) is None:
            if rename_exclusive(source, target, name, becomes):
                if not is_object(status(target, becomes), inode):
                    rename_exclusive(target, source, becomes, name)
                    raise Different
                return Step.MADE
            self._cannot_rename.add(action.root)
        if status(target, becomes) is None:
            link_as(source, name, target, becomes)
        _check_linked(target, becomes, inode)
        if half:
            return Step.HALF_DONE
        root.sync()
        unlink_one_of_two(source, name, inode)
        return Step.MADE

    def _leave(self, action: Action, leaves: bytes) -> None:
        root = self.roots[action.root]
        with opened(root.pin(leaves)) as fd:
            unlink_one_of_two(fd, action.name, action.inode)

    # -- one of two names goes

    def _drop(self, action: Action, *, settling: bool) -> Step:
        """Check that the object has both names, so that one may go.

        If only this one is left, the other daemon has deleted the object: it is kept aside.
        """
        root, name, leaves = self.roots[action.root], action.name, _leaves(action)
        stays = action.new if leaves == action.old else action.old
        here, other = status_beneath(root, leaves, name), status_beneath(root, stays, name)
        if here is None:
            if other is None and status_beneath(root, self._aside(action), name) is None:
                raise Gone
            return Step.ALREADY
        if not is_object(here, action.inode):
            raise Different
        if other is None:
            self.last_names[action.key] = here.st_size
            return self._shift(action, leaves, self._aside(action), settling=settling)
        if not is_object(other, action.inode):
            raise Different
        return Step.NOT_BEGUN if settling else Step.HALF_DONE


def _leaves(action: Action) -> bytes:
    """Return the place whose name goes."""
    return action.old if action.verb is Verb.DROP else action.new


def link_as(source: int, name: bytes, target: int, new_name: bytes) -> None:
    """Link a name of one open directory into another.

    Raises OSError, Different if it is taken, Gone if there is nothing of the first name any more.
    """
    try:
        os.link(name, new_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        raise Different from None
    except FileNotFoundError:
        if status(source, name) is None:  # v0.3 may run, and has deleted it since it was looked at
            raise Gone from None
        raise


def _check_linked(directory: int, name: bytes, inode: int) -> None:
    """Check that a name was given to the inode that is meant; if not, take it away again."""
    found = status(directory, name)
    if is_object(found, inode):
        return
    if found is not None and found.st_nlink > 1:
        os.unlink(name, dir_fd=directory)
    raise Different


def unlink_one_of_two(directory: int, name: bytes, inode: int) -> None:
    """Remove a name of an inode that has another one, as the server has it at this moment.

    Raises OSError, Different.
    """
    with opened(os.open(name, PIN, dir_fd=directory)) as pin:
        found = statx.status(pin, fresh=True)
    if found.inode != inode or found.links < 2:
        raise Different
    os.unlink(name, dir_fd=directory)
