"""Volumes whose names led v0.3 out of the directory of the maps. They are found, and left.

v0.3 takes `..` in the bytes 7 to 12 of a name literally, so a map may lie above the maps:

    archip_..abcdef                     maps/../ab/cd
    archip_....abcd                     maps/../../ab
    archip_......ab                     maps/../../..
    archip_..ab..cd, archip_ab....cd    maps/..

Only these few directories are looked into, no link is followed, and a file counts only if its own
name leads to where it was found.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from functools import partial

from ..layout.names import LOCK, PREFIX
from ..model import Failure, Limits, Scan, Tally, Unit
from ..packed.groups import Hint
from ..packed.moves import Root
from ..tree.files import DIRECTORY, status
from .classify import Class
from .places import UP, v03_steps
from .roots import OpenRoot
from .tables import Found, put_found

ABOVE = Root.MAPS.label + b"/" + UP  # how the paths begin that are shown
# How far above the maps, and how many directories of two bytes below that.
DEPTHS = ((1, 2), (2, 1), (3, 0))
NOTE = (
    "v0.3 put this volume outside of the maps, where v0.4 does not look: copy it to another name "
    "while v0.3 can read it"
)
IS_NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def look_outside(maps: OpenRoot, unit: Unit, limits: Limits) -> Scan:
    """Look for volumes outside of the maps; `writes` list them."""
    look = _Look(limits)
    for up, down in DEPTHS:
        look.above(maps.fd, up, down)
    return Scan(
        Tally(failed=len(look.failures)),
        rest=unit if look.was_stopped else None,
        failures=look.failures,
        writes=[partial(put_found, found=look.found)] if look.found else [],
        operations=look.looked,
    )


@dataclass(slots=True)
class _Look:
    limits: Limits
    found: list[Found] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    looked: int = 0
    was_stopped: bool = False

    def above(self, maps: int, up: int, down: int) -> None:
        """Look into the directory that is *up* levels above the maps, and below it."""
        steps = (UP,) * up
        try:
            fd = os.open(b"/".join(steps), DIRECTORY, dir_fd=maps)
        except OSError as error:
            self._failed(steps, error)
            return
        try:
            self._directory(fd, steps, down)
        finally:
            os.close(fd)

    def _directory(self, fd: int, steps: tuple[bytes, ...], down: int) -> None:
        self.looked += 1
        for name in map(os.fsencode, os.listdir(fd)):
            if self.limits.stop[0]:
                self.was_stopped = True
                return
            if name.startswith(PREFIX):
                self._file(fd, steps, name)
            elif down and len(name) == 2:
                self._below(fd, (*steps, name), down - 1)

    def _below(self, above: int, steps: tuple[bytes, ...], down: int) -> None:
        try:
            fd = os.open(steps[-1], DIRECTORY, dir_fd=above)
        except OSError as error:
            self._failed(steps, error)
            return
        try:
            self._directory(fd, steps, down)
        finally:
            os.close(fd)

    def _failed(self, steps: tuple[bytes, ...], error: OSError) -> None:
        if error.errno not in IS_NONE:
            number = error.errno or errno.EIO
            self.failures.append(Failure(_shown(steps), "look", number, hint=Hint.WALK))

    def _file(self, fd: int, steps: tuple[bytes, ...], name: bytes) -> None:
        if tuple(v03_steps(name)) != steps:
            return
        found = status(fd, name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return
        path = b"/".join((_shown(steps), name))
        if name.endswith(LOCK):
            self.found.append(Found(path, Class.LOCK))
        elif not found.st_size:
            self.found.append(Found(path, Class.PLACEHOLDER))
        else:
            self.found.append(Found(path, Class.OUTSIDE, NOTE, name.removeprefix(PREFIX)))


def _shown(steps: tuple[bytes, ...]) -> bytes:
    return b"/".join((Root.MAPS.label, *steps))
