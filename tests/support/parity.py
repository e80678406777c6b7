"""What tests of one backend against the other need: twin trees, walks, damage."""

from __future__ import annotations

import dataclasses
import importlib
import os
import random
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archipmigrate.backend.base import Backend, ScanOptions
from archipmigrate.backend.python.backend import PythonBackend
from archipmigrate.backend.select import available
from archipmigrate.model import Limits, Scan, Tally, Unit
from archipmigrate.packed.changes import Change, Flag, read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from archipmigrate.ui.notices import SKIPPED
from tests.support.descriptors import none_left_open
from tests.support.program import GID, missing

BUILT = "native" in available()
native: Any = importlib.import_module("archipmigrate.backend.native") if BUILT else None
extension: Any = importlib.import_module("archipmigrate._native") if BUILT else None

ENDLESS = Limits(60, 10**9, 10**9)
POLICY = GroupPolicy(GID)
EVERYTHING = ScanOptions()


def need_native() -> None:
    """Skip the test if the extension is not built."""
    if not BUILT:
        missing("gcc (the C extension)")


@contextmanager
def opened(path: Path, backend: type[Any], *, descriptors: int = 64) -> Iterator[Backend]:
    """Open a backend on a directory; at the end, no descriptor may be left."""
    with none_left_open():
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        made = backend(root, descriptors=descriptors)
        try:
            yield made
        finally:
            made.close()
            os.close(root)


def both() -> tuple[type[Any], type[Any]]:
    """Return the two classes."""
    return PythonBackend, native.NativeBackend


# -- trees

NAMES = [
    b"plain",
    b"-rf",
    b"new\nline",
    b"\xff\xfe\x80",
    b"space d",
    b"...",
    b".hidden",
    b"n" * 255,
    b"*",
    b"\\",
    b"skip",
]


class Grower:
    """Makes the same random tree from the same seed, whatever was there before."""

    def __init__(self, seed: int, *, entries: int = 250) -> None:
        self._rng = random.Random(seed)
        self._left = entries
        self._files: list[tuple[int, bytes]] = []

    def grow(self, root: Path) -> None:
        """Fill a directory."""
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._fill(top, 0)
        for directory in {top, *(d for d, _ in self._files)}:
            os.close(directory)

    def _fill(self, directory: int, depth: int) -> None:
        rng = self._rng
        names = {rng.choice(NAMES) + b"%d" % rng.randrange(30) for _ in range(rng.randrange(14))}
        if depth < 3 and rng.random() < 0.15:
            names |= {b"many%d" % i for i in range(rng.randrange(20, 120))}
        for name in sorted(name[-255:] for name in names):
            if self._left > 0:
                self._left -= 1
                self._make(directory, name, depth)

    def _make(self, directory: int, name: bytes, depth: int) -> None:
        rng = self._rng
        kind = rng.random()
        if kind < 0.35 and depth < 12:
            os.mkdir(name, 0o700, dir_fd=directory)
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            self._fill(fd, depth + 1)
            self._decorate(fd)
            if all(fd != d for d, _ in self._files):
                os.close(fd)
        elif kind < 0.8:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
            os.write(fd, rng.randbytes(rng.randrange(20)))
            self._decorate(fd)
            os.close(fd)
            self._files.append((directory, name))
        elif kind < 0.86 and self._files:
            source, old = rng.choice(self._files)
            os.link(old, name, src_dir_fd=source, dst_dir_fd=directory)
        elif kind < 0.94:
            os.symlink(rng.choice((b"/etc", b".", b"nowhere")), name, dir_fd=directory)
        else:
            os.mkfifo(name, 0o600, dir_fd=directory)

    def _decorate(self, fd: int) -> None:
        rng = self._rng
        os.fchown(fd, rng.choice((0, 7)), rng.choice((0, 7, GID, GID)))
        bits = rng.choice((0o000, 0o600, 0o660, 0o644, 0o755, 0o770, 0o2770, 0o2775, 0o1777))
        os.fchmod(fd, bits | rng.choice((0, 0, 0, stat.S_ISUID, stat.S_ISGID, 0o6000)))


# -- looking

Key = tuple[object, ...]


@dataclass(slots=True)
class Seen:
    """All that came of the units of one walk."""

    tally: Tally = field(default_factory=Tally)
    changes: list[bytes] = field(default_factory=list)
    scans: int = 0
    wide: int = 0
    failures: Counter[Key] = field(default_factory=Counter)
    links: Counter[Key] = field(default_factory=Counter)
    notices: Counter[Key] = field(default_factory=Counter)

    def add(self, scan: Scan) -> None:
        """Add the result of one scan."""
        self.scans += 1
        self.wide += scan.wide is not None
        self.tally.add(scan.tally)
        self.failures.update(dataclasses.astuple(failure) for failure in scan.failures)
        self.notices.update(dataclasses.astuple(notice) for notice in scan.notices)
        assert scan.tally.skipped == sum(notice.kind in SKIPPED for notice in scan.notices)
        records = {c.offset: c for c in read_changes(scan.preimage)} if scan.preimage else {}
        assert len(records) == scan.count
        for link in scan.links:
            assert records[link.offset].inode == link.inode
            self.links[records[link.offset].path, link.device, link.inode] += 1
        if scan.preimage:
            self.changes.append(scan.preimage)

    def records(self) -> Counter[Key]:
        """All changes, decoded."""
        return Counter(
            dataclasses.astuple(dataclasses.replace(change, index=0, offset=0))
            for body in self.changes
            for change in read_changes(body)
        )

    def attrs(self) -> Counter[Key]:
        """The changes without what twins cannot have in common: inodes and times."""
        return Counter(record[2:-4] for record in self.records())

    def result(self) -> tuple[object, ...]:
        """What must be the same."""
        return self.tally, self.records(), self.failures, self.links, self.notices


def look(
    backend: Backend,
    unit: Unit | None = None,
    options: ScanOptions = EVERYTHING,
    limits: Callable[[], Limits] = lambda: ENDLESS,
    policy: GroupPolicy = POLICY,
) -> Seen:
    """Scan until nothing is left, depth first; what is deferred comes after all else."""
    seen = Seen()
    todo = [unit or walk_unit([whole()])]
    deferred: list[Unit] = []
    while todo or deferred:
        scan = backend.scan((todo or deferred).pop(), policy, options, limits())
        seen.add(scan)
        deferred += [scan.deferred] if scan.deferred else []
        todo += [u for u in (scan.rest, *scan.chunks, scan.wide, *scan.again) if u]
        assert seen.scans < 100_000
    return seen


def small(seed: int) -> Callable[[], Limits]:
    """Return limits that are different each time, and tight."""
    rng = random.Random(seed)
    return lambda: Limits(60, rng.choice((1, 2, 5, 30)), rng.choice((1, 3, 10)))


@contextmanager
def chain(path: Path, depth: int, name: bytes, *, siblings: bool) -> Iterator[None]:
    """Make a chain of directories, with a file and a directory beside each, and remove it."""
    at = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        if siblings:
            os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=at))
            os.mkdir(b"beside", 0o700, dir_fd=at)
        os.mkdir(name, 0o700, dir_fd=at)
        deeper = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    try:
        yield
    finally:
        subprocess.run(["rm", "-rf", path], check=True)


class Damage:
    """Does to a tree what may happen to it between a pre-image and its settlement, or its undo."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._moved = 0

    def do(self, root: Path, body: bytes) -> None:
        """Go through the changes, deepest first, in an order that is the same for twins."""
        for change in sorted(read_changes(body), key=lambda c: c.path, reverse=True):
            if not change.flags & Flag.DROPPED:
                self._one(os.fsencode(root) + b"/" + change.path, change)

    def _move(self, path: bytes) -> None:
        self._moved += 1
        os.rename(path, os.path.join(os.path.dirname(path), b"moved%d" % self._moved))

    def _one(self, path: bytes, change: Change) -> None:
        what = self._rng.randrange(13)
        if what < 8:
            self._set(path, change, what)
        elif change.path and what < 10:
            self._move(path)
            if what == 9:
                os.symlink(b"/etc/passwd", path)
        elif what == 10 and not change.directory:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            with open(path, "ab") as file:
                file.write(b"more")
            os.chmod(path, mode)
        elif what == 11 and not change.directory:
            self._move(path)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    def _set(self, path: bytes, change: Change, what: int) -> None:
        if what in {0, 2, 3, 4}:
            os.chown(path, -1, change.new_gid)
        if what in {1, 2, 3, 4}:
            os.chmod(path, stat.S_IMODE(change.new_mode))
        elif what == 5:
            os.chmod(path, stat.S_IMODE(change.mode) & 0o1777)
        elif what == 6:
            os.chmod(path, self._rng.randrange(0o7777))
        elif what == 7:
            os.chown(path, 99, -1)
