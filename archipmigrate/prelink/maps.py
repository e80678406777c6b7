"""Actions with maps: a map is copied before it moves, and has one name while anybody reads it.

v0.4 rewrites a map, or removes it, when it opens the volume. So only a copy lets v0.3 serve the
volume again:

    at the new place                  the way back
    the map as it was copied          it moves
    rewritten, or nothing             its copy is copied; what v0.4 wrote is kept aside

An empty file at the old place is a placeholder of a v0.3 that was started too early: it gives way.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ..layout.names import PREFIX
from ..relocate.copying import SourceChanged, copy_file, sweep_part
from ..relocate.roots import OpenRoot, is_object, status_beneath
from ..relocate.steps import Different, Gone, Step
from ..tree.files import same_content, status
from .actions import Action, Verb
from .keep import Shelf, opened
from .steps import Steps, unlink_one_of_two


@dataclass(slots=True)
class AllSteps(Steps):
    """Does actions with blocks and maps."""

    def begin(self, action: Action, *, settling: bool) -> Step:
        """Begin an action, or settle it."""
        if action.verb is Verb.MAP:
            return self._copy_before_move(action, settling=settling)
        if action.verb is Verb.MAP_BACK:  # all steps of it may be repeated
            return Step.NOT_BEGUN if settling else self._return(action)
        return Steps.begin(self, action, settling=settling)

    def finish(self, action: Action) -> None:
        """Finish what is half done."""
        if action.verb is not Verb.MAP:
            Steps.finish(self, action)
            return
        root = self.roots[action.root]
        with opened(root.pin(action.old)) as old, opened(root.pin_made(action.new)) as new:
            if is_object(status(new, action.name), action.inode):
                unlink_one_of_two(old, action.name, action.inode)
            else:
                self.move(action, old, action.name, new, action.inode)

    # -- there

    def _copy_before_move(self, action: Action, *, settling: bool) -> Step:
        root, name = self.roots[action.root], action.name
        here = status_beneath(root, action.old, name)
        there = status_beneath(root, action.new, name)
        if not is_object(here, action.inode):
            if is_object(there, action.inode):
                return Step.ALREADY
            raise Gone if here is None else Different
        if there is not None:
            if not is_object(there, action.inode):
                raise Different
        elif settling:
            return Step.NOT_BEGUN
        with opened(root.pin(action.old)) as old, opened(root.pin_made(self._copies(name))) as kept:
            _copy(old, kept, name)
        return Step.HALF_DONE

    def _copies(self, name: bytes) -> bytes:
        return self.keep.shelf(Shelf.MAPS, name)

    # -- and back

    def _return(self, action: Action) -> Step:
        root, name = self.roots[action.root], action.name
        try:
            kept = root.pin(self._copies(name))
        except FileNotFoundError:
            raise Gone from None
        step = Step.ALREADY
        with opened(kept), opened(root.pin_made(action.old)) as old:
            here = status(old, name)
            if here is None or _is_empty(here):
                if here is not None:
                    os.unlink(name, dir_fd=old)
                self._put_back(action, kept, old)
                root.sync()
                step = Step.MADE
            elif not stat.S_ISREG(here.st_mode) or not same_content(kept, old, name):
                raise Different
            else:
                sweep_part(old, name)
            found = status(old, name)
        self._set_aside(root, name, found)
        self._set_aside(root, name.removeprefix(PREFIX), found)
        return step

    def _put_back(self, action: Action, kept: int, old: int) -> None:
        """Move the map back if it is as it was; else copy its copy."""
        root, name = self.roots[action.root], action.name
        there = status_beneath(root, action.new, name)
        if there is not None and stat.S_ISREG(there.st_mode):
            with opened(root.pin(action.new)) as new:
                if same_content(kept, new, name):
                    self.move(action, new, name, old, there.st_ino)
                    return
        _copy(kept, old, name)

    def _set_aside(self, root: OpenRoot, name: bytes, ours: os.stat_result | None) -> None:
        """Keep aside a map that v0.4 wrote, which would win over the one that returned."""
        action = Action(Verb.MAP_BACK, name, 0)
        there = status_beneath(root, action.new, name)
        if there is None or not stat.S_ISREG(there.st_mode):
            return
        shelf = self.keep.shelf(Shelf.V04, name)
        with opened(root.pin(action.new)) as new, opened(root.pin_made(shelf)) as aside:
            if ours is not None and there.st_ino == ours.st_ino:  # a kill left it both names
                unlink_one_of_two(new, name, there.st_ino)
                return
            if status(aside, name) is not None:  # of an earlier way back
                os.unlink(name, dir_fd=aside)
            self.move(action, new, name, aside, there.st_ino)


def _is_empty(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and not found.st_size


def _copy(source: int, target: int, name: bytes) -> None:
    """Copy a map with its attributes; a copy that is another one is made anew."""
    if status(target, name) is not None:
        if same_content(source, target, name):
            sweep_part(target, name)
            return
        os.unlink(name, dir_fd=target)
    try:
        copy_file(source, target, name)
    except SourceChanged:
        raise Different from None
