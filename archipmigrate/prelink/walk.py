"""Looks at the old places of all blocks and maps, and says what is to be done with each.

A unit is a directory of the first level. Blocks lie where the first three bytes of their digests
say, so a directory of the second level, and what the journal knows of it, have the same order:

    aa/bb      read once; its directories' ctimes tell which were changed since the last pass
    aa/bb/cc   not changed: each block that is known is looked at by name (2 NFS calls)
               changed: read, so that new names are found

What is known and not there was deleted. Nothing is changed here; what is judged depends on the
phase (`Judge`).
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from ..layout.names import OWN_DIRECTORY, is_v03_data
from ..model import RETRIES, TRANSIENT, Failure, Limits, Scan, TablesWrite, Tally, Unit
from ..packed.groups import Hint
from ..packed.moves import Root, shown_path
from ..relocate.classify import Class
from ..relocate.places import sha256_directory
from ..relocate.roots import OpenRoot, Roots, leads_out
from ..relocate.tables import (
    Found,
    MapToCheck,
    Waiting,
    add_counts,
    put_found,
    put_volumes,
    put_waiting,
)
from ..tree.beneath import PIN, open_beneath
from ..tree.files import DIRECTORY
from .actions import Action, block_directory, block_name, pack_actions
from .keep import opened
from .known import Known
from .tables import end_walk, forget_objects

WALK = b"W"
HEAD = struct.Struct("<BBB")  # root, whether this is the first piece, length of the first name
OPERATION = "look"
MOST_ACTIONS = 5_000  # of one unit
LINKED = "a symbolic link where a directory belongs: not followed"
MOUNTED = "another filesystem is mounted here: not entered"
PASSING = TRANSIENT | {errno.ENOENT}  # a directory that went while it was looked at
SLACK = 2 * 10**9  # ns: servers with whole seconds, and the kernel's own ticks


def walk_unit(root: Root, top: bytes, below: Sequence[bytes] = (), *, first: bool = True) -> Unit:
    """Return the unit that walks *top*: all of it, or what is *below* it."""
    body = WALK + HEAD.pack(root, first, len(top)) + top
    body += b"".join(bytes((len(name),)) + name for name in below)
    return Unit(body, max(len(below), 1))


def unpack_walk(body: bytes) -> tuple[Root, bool, bytes, list[bytes]]:
    """Return root, whether it is the first piece, top and names below of a unit."""
    root, first, length = HEAD.unpack_from(body, 1)
    at = 1 + HEAD.size + length
    top, below = body[1 + HEAD.size : at], []
    while at < len(body):
        end = at + 1 + body[at]
        below.append(body[at + 1 : end])
        at = end
    return Root(root), bool(first), top, below


@dataclass(frozen=True, slots=True)
class Here:
    """A file that was found: the root and directory, its name and status."""

    root: Root
    directory: bytes
    name: bytes
    found: os.stat_result

    @property
    def path(self) -> bytes:
        """Its path, as it is shown."""
        return shown_path(self.root, self.directory, self.name)


class Finds:
    """What a unit has found, for the journal."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.found: list[Found] = []
        self.counts: Counter[str] = Counter()
        self.forget: list[bytes] = []
        self.volumes: list[MapToCheck] = []
        self.skipped = 0

    def add(self, other: Finds) -> None:
        """Add what was found below."""
        self.actions += other.actions
        self.found += other.found
        self.counts += other.counts
        self.forget += other.forget
        self.volumes += other.volumes
        self.skipped += other.skipped

    def list(self, path: bytes, kind: str, note: str = "") -> None:
        """List a file."""
        self.found.append(Found(path, kind, note))
        self.skipped += 1

    def writes(self) -> Iterator[TablesWrite]:
        """Yield what is to be written, but for the actions."""
        if self.volumes:
            yield partial(put_volumes, maps=self.volumes)
        if self.found:
            yield partial(put_found, found=self.found)
        if self.counts:
            yield partial(add_counts, counts=list(self.counts.items()))
        if self.forget:
            yield partial(forget_objects, digests=self.forget)


class Judge(ABC):
    """Says what is to be done, in one phase. Every method may raise OSError."""

    direct: bool = False  # whether actions are done at once, and do not wait

    @abstractmethod
    def known(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Judge a block that is at its old place as it was."""

    @abstractmethod
    def gone(self, finds: Finds, digest: bytes, inode: int) -> None:
        """Judge a block that is not at its old place any more."""

    @abstractmethod
    def other(self, finds: Finds, here: Here, inode: int | None) -> None:
        """Judge a block at its old place that is not known (None), or another inode than it was."""

    @abstractmethod
    def file(self, finds: Finds, here: Here) -> None:
        """Judge anything else: maps, and among blocks what is none at its old place."""


@dataclass(slots=True)
class Walk:
    """One unit; `since` is when the latest pass over everything began (0: read everything)."""

    roots: Roots
    known: Known
    judge: Judge
    unit: Unit
    limits: Limits
    since: int
    _finds: Finds = field(default_factory=Finds)
    _tally: Tally = field(default_factory=Tally)
    _failures: list[Failure] = field(default_factory=list)
    _chunks: list[Unit] = field(default_factory=list)
    _rest: Unit | None = None
    _again: list[bytes] = field(default_factory=list)
    _looked: int = 0

    def scan(self) -> Scan:
        """Walk until done or a limit is reached."""
        root, first, top, below = unpack_walk(self.unit.body)
        if root is Root.MAPS and not top:
            self._guarded(root, top, self._tops)
        elif root is Root.MAPS:
            self._guarded(root, top, lambda: self._tree(self.roots[root], root, top))
        else:
            self._blocks(top, below, first=first)
        actions, finds = self._finds.actions, self._finds
        waits = actions and not self.judge.direct
        number = 0 if waits else len(actions)
        writes = list(finds.writes())
        if first:
            writes.append(partial(end_walk, root=root, name=top))
        if waits:
            waiting = Waiting(pack_actions(actions), len(actions))
            writes.append(partial(put_waiting, waiting=waiting))
        listed = finds.skipped + number
        tally = Tally(
            entries=listed, files=listed, skipped=finds.skipped, failed=len(self._failures)
        )
        again = walk_unit(root, top, self._again, first=False)
        return Scan(
            tally,
            WALK + pack_actions(actions) if number else b"",
            number,
            rest=self._rest,
            chunks=self._chunks,
            again=[_retried(again, self.unit)] if self._again else (),
            failures=self._failures,
            writes=writes,
            operations=self._looked,
        )

    # -- blocks

    def _blocks(self, top: bytes, below: list[bytes], *, first: bool) -> None:
        until = monotonic() + self.limits.seconds
        if first and not below:
            expected = {
                b"%02x" % digest[1] for digest in self.known.below(bytes.fromhex(top.decode()))
            }
            names: set[bytes] = set()
            self._guarded(Root.BLOCKS, top, lambda: names.update(self._layout_names(top)))
            below = sorted(names | expected)
        while below:
            name = below.pop()
            self._guarded(Root.BLOCKS, top, partial(self._second, top + b"/" + name), name)
            full = len(self._finds.actions) >= min(self.limits.changes, MOST_ACTIONS)
            if below and (full or monotonic() >= until or self.limits.stop[0]):
                self._rest = walk_unit(Root.BLOCKS, top, below, first=False)
                return

    def _layout_names(self, path: bytes) -> list[bytes]:
        """Return the names of directories in which v0.3 may have put blocks."""
        root = self.roots[Root.BLOCKS]
        try:
            with opened(open_beneath(root.fd, path, DIRECTORY)) as fd:
                return [n for n in map(os.fsencode, os.listdir(fd)) if is_hex(n)]
        except FileNotFoundError:
            return []

    def _second(self, path: bytes) -> None:
        """Look at a directory of the second level."""
        prefix = bytes.fromhex(path.replace(b"/", b"").decode())
        expected: dict[bytes, dict[bytes, int]] = {}
        for digest, inode in self.known.below(prefix).items():
            expected.setdefault(b"%02x" % digest[2], {})[digest] = inode
        root = self.roots[Root.BLOCKS]
        try:
            fd = open_beneath(root.fd, path, DIRECTORY)
        except FileNotFoundError:
            for blocks in expected.values():
                for digest, inode in blocks.items():
                    self.judge.gone(self._finds, digest, inode)
            return
        with opened(fd):
            device = os.fstat(fd).st_dev
            names = {name for name in map(os.fsencode, os.listdir(fd)) if is_hex(name)}
            for name in sorted(names | set(expected)):
                self._leaf(fd, device, path + b"/" + name, expected.get(name, {}))

    def _leaf(self, above: int, device: int, path: bytes, expected: dict[bytes, int]) -> None:
        name = path[-2:]
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            found = None
        self._looked += 1
        if found is not None and not self._may_enter(Root.BLOCKS, path, found, device):
            return
        if found is not None and found.st_ctime_ns + SLACK >= self.since:
            self._read_leaf(above, path, expected)
            return
        for digest, inode in expected.items():
            there = _status(above, name + b"/" + block_name(digest)) if found else None
            self._looked += 1
            self._block(digest, inode, path, there)

    def _block(
        self, digest: bytes, inode: int | None, path: bytes, there: os.stat_result | None
    ) -> None:
        if there is None:
            if inode is not None:
                self.judge.gone(self._finds, digest, inode)
        elif there.st_ino == inode and stat.S_ISREG(there.st_mode):
            self.judge.known(self._finds, digest, inode)
        else:
            self.judge.other(self._finds, Here(Root.BLOCKS, path, block_name(digest), there), inode)

    def _read_leaf(self, above: int, path: bytes, expected: dict[bytes, int]) -> None:
        with opened(open_beneath(above, path[-2:], DIRECTORY)) as fd:
            names = list(map(os.fsencode, os.listdir(fd)))
            seen = set()
            for name in names:
                if sha256_directory(name) == path:  # where v0.4 looks
                    continue
                self._looked += 1
                there = _status(fd, name)
                digest = bytes.fromhex(name[7:].decode()) if is_v03_data(name) else b""
                if digest and block_directory(digest) == path:
                    seen.add(digest)
                    self._block(digest, expected.get(digest), path, there)
                elif there is not None:
                    self.judge.file(self._finds, Here(Root.BLOCKS, path, name, there))
            for digest, inode in expected.items():
                if digest not in seen:
                    self._block(digest, inode, path, None)

    # -- maps

    def _tops(self) -> None:
        root = self.roots[Root.MAPS]
        device = os.fstat(root.fd).st_dev
        for name in sorted(map(os.fsencode, os.listdir(root.fd))):
            if name.startswith(OWN_DIRECTORY):
                continue
            found = _status(root.fd, name)
            if found is not None and stat.S_ISDIR(found.st_mode):
                if self._may_enter(Root.MAPS, name, found, device):
                    self._chunks.append(walk_unit(Root.MAPS, name, first=False))
            elif found is not None:
                self.judge.file(self._finds, Here(Root.MAPS, b"", name, found))

    def _tree(self, root: OpenRoot, kind: Root, path: bytes) -> None:
        """Judge all that is below a directory, three levels deep at most as v0.3's are."""
        todo = [path]
        while todo:
            directory = todo.pop()
            with opened(open_beneath(root.fd, directory, DIRECTORY)) as fd:
                device = os.fstat(fd).st_dev
                for name in sorted(map(os.fsencode, os.listdir(fd))):
                    found = _status(fd, name)
                    self._looked += 1
                    if found is None:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        if self._may_enter(kind, directory + b"/" + name, found, device):
                            todo.append(directory + b"/" + name)
                        continue
                    self.judge.file(self._finds, Here(kind, directory, name, found))

    # -- what is not entered, and failures

    def _may_enter(self, root: Root, path: bytes, found: os.stat_result, device: int) -> bool:
        if stat.S_ISDIR(found.st_mode) and found.st_dev == device:
            return True
        if stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode):
            note = MOUNTED if stat.S_ISDIR(found.st_mode) else LINKED
            self._finds.found.append(Found(shown_path(root, path), Class.OUTSIDE, note))
        return False

    def _guarded(
        self, root: Root, top: bytes, look: Callable[[], None], below: bytes = b""
    ) -> None:
        """Look; of what fails nothing counts."""
        whole, self._finds = self._finds, Finds()
        try:
            look()
            whole.add(self._finds)
        except OSError as error:
            path, number = shown_path(root, top, below), error.errno or errno.EIO
            if leads_out(error):
                whole.found.append(Found(path, Class.OUTSIDE, LINKED))
            elif number in PASSING and self.unit.retries < RETRIES and below:
                self._again.append(below)
            else:
                self._failures.append(Failure(path, OPERATION, number, hint=Hint.WALK))
        finally:
            self._finds = whole


def _retried(unit: Unit, of: Unit) -> Unit:
    return Unit(unit.body, unit.entries, of.retries + 1, of.counted, scope=of.scope)


def _status(directory: int, path: bytes) -> os.stat_result | None:
    """Return the status of what lies below a directory, by steps that follow no link."""
    try:
        with opened(open_beneath(directory, path, PIN)) as fd:
            return os.fstat(fd)
    except FileNotFoundError:
        return None


def is_hex(name: bytes) -> bool:
    """Whether a name may be that of a directory of v0.3's for blocks."""
    return len(name) == 2 and not set(name) - set(b"0123456789abcdef")
