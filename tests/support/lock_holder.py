"""A blocker that takes and releases locks of volumes, as `filed` does, and watches what it holds.

Invariant: while it holds a lock of a volume, no file of that volume changes, and the volume reads
as a whole. What breaks that is kept in `broken`.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from tests.support.map_shares import (
    PREFIX,
    Entry,
    Unreadable,
    block_name,
    lock_path,
    put_lock,
    read_volume,
    sha256_place,
)

HELD = 0.004  # seconds: an upgrade takes about as long


@dataclass(slots=True)
class Blocker:
    """One node's blocker; `volumes` gives the names whose locks it takes, and the entries."""

    maps: Path
    locks: Path | None
    volumes: Mapping[str, tuple[Sequence[str], list[Entry]]]
    unique: str
    taken: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)

    def work(self, stop: Event, seed: int) -> None:
        """Take and release locks of random volumes until told to stop."""
        order = random.Random(seed)
        while not stop.is_set():
            volume = order.choice(list(self.volumes))
            with self.holding(order.choice(self.volumes[volume][0])) as held:
                if held:
                    self.watch(volume, lambda: stop.wait(HELD))

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[bool]:
        """Take an object's lock, if nobody has it, and release it in the end."""
        lock = lock_path(self.maps, self.locks, name)
        held = self._take(lock)
        try:
            yield held
        finally:
            if held:
                if lock.read_bytes() != self.unique.encode():
                    self.broken.append(f"{lock} is not what it was")
                lock.unlink()

    def _take(self, lock: Path) -> bool:
        lock.parent.mkdir(parents=True, exist_ok=True)
        temporary = lock.with_name(f"{lock.name}{self.unique}_xy")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
        try:
            os.write(fd, self.unique.encode())
            os.fsync(fd)
            os.link(temporary, lock)
        except FileExistsError:
            self.refused += 1
            return False
        else:
            self.taken += 1
            return True
        finally:
            os.close(fd)
            temporary.unlink()

    def watch(self, volume: str, meanwhile: Callable[[], object]) -> None:
        """Look at a volume before and after *meanwhile*."""
        before = self._files(volume)
        try:
            if read_volume(self.maps, volume).entries != self.volumes[volume][1]:
                self.broken.append(f"{volume} has other entries")
        except Unreadable as error:
            self.broken.append(f"{volume} is not whole: {error}")
        meanwhile()
        if self._files(volume) != before:
            self.broken.append(f"{volume} changed while its lock was held")

    def _files(self, volume: str) -> dict[Path, tuple[bytes, int, int]]:
        found = {}
        for name in (volume, PREFIX + volume):
            for file in (name, block_name(name, 0)):
                path = self.maps / sha256_place(file) / file
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    found[path] = (path.read_bytes(), status.st_mtime_ns, status.st_ino)
        return found


def lock_of_dead_run(maps: Path, locks: Path | None, name: str, host: str, run: str) -> Path:
    """Make a lock as a run of the program on a host has it."""
    return put_lock(maps, locks, name, f"archipmigrate_{host}_{run}")
