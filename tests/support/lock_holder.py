"""A blocker that acquires and releases locks of volumes as `filed` does, and watches those volumes.

Invariant: while it holds a lock of a volume, no file of that volume changes, and the volume can be
read in full. Violations are in `broken`.
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

HOLD = 0.004  # seconds, about as long as an upgrade takes


@dataclass(slots=True)
class Blocker:
    """One node's blocker; `volumes` has the names whose locks it acquires, and the entries."""

    maps: Path
    locks: Path | None
    volumes: Mapping[str, tuple[Sequence[str], list[Entry]]]
    unique: str
    acquired: int = 0
    refused: int = 0
    broken: list[str] = field(default_factory=list)

    def work(self, stop: Event, seed: int) -> None:
        """Acquire and release locks of random volumes until *stop* is set."""
        order = random.Random(seed)
        while not stop.is_set():
            volume = order.choice(list(self.volumes))
            with self.holding(order.choice(self.volumes[volume][0])) as held:
                if held:
                    self.watch(volume, lambda: stop.wait(HOLD))

    @contextlib.contextmanager
    def holding(self, name: str) -> Iterator[bool]:
        """Acquire an object's lock if it is free; yield whether it was; release it at the end."""
        lock = lock_path(self.maps, self.locks, name)
        held = self._acquire(lock)
        try:
            yield held
        finally:
            if held:
                if lock.read_bytes() != self.unique.encode():
                    self.broken.append(f"{lock} is not what it was")
                lock.unlink()

    def _acquire(self, lock: Path) -> bool:
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
            self.acquired += 1
            return True
        finally:
            os.close(fd)
            temporary.unlink()

    def watch(self, volume: str, meanwhile: Callable[[], object]) -> None:
        """Check that a volume is whole, and that *meanwhile* does not change it."""
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
    """Make a lock as a run of the program on a host would."""
    return put_lock(maps, locks, name, f"archipmigrate_{host}_{run}")
