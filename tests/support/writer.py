"""Writes in a share until it is killed: `python -m tests.support.writer SHARE SEED`.

It creates, writes, renames, links and removes entries of its own in the directories that it finds
at first, and writes into the files that it finds there. It changes no attrs of anything that is not
its own. It prints "begun" once it has.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from pathlib import Path

OWN = "writer"  # how its names begin
MOST = 100  # own entries at a time
COMMAND = (sys.executable, "-m", "tests.support.writer")
MODES = (0o600, 0o644, 0o660, 0o755)


class Writer:
    """One of them; its seed is part of its names."""

    def __init__(self, share: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self._made = 0
        self._directories: list[Path] = []
        self._files: list[Path] = []
        for path, directories, files in os.walk(share):
            directories[:] = [name for name in directories if not name.startswith(OWN)]
            self._directories.append(Path(path))
            found = [Path(path, name) for name in files if not name.startswith(OWN)]
            self._files += [path for path in found if not path.is_symlink()]
        self._own: list[Path] = []

    def work(self) -> None:
        """Do one thing."""
        acts = [self.create, self.create, self.make, self.write, self.link]
        if len(self._own) > MOST:
            acts = [self.remove]
        elif self._own:
            acts += [self.remove, self.rename, self.rename]
        self._rng.choice(acts)()

    def create(self) -> None:
        """Create a file."""
        path = self._new()
        path.write_bytes(b"new")
        path.chmod(self._rng.choice(MODES))

    def make(self) -> None:
        """Create a directory with a file."""
        path = self._new()
        path.mkdir(self._rng.choice((0o700, 0o755)))
        (path / "file").write_bytes(b"")

    def write(self) -> None:
        """Write into a file that is not its own."""
        with self._rng.choice(self._files).open("r+b") as file:
            file.write(b"written")

    def link(self) -> None:
        """Give such a file one more name."""
        os.link(self._rng.choice(self._files), self._new())

    def rename(self) -> None:
        """Move an entry of its own."""
        self._take().rename(self._new())

    def remove(self) -> None:
        """Remove an entry of its own."""
        path = self._take()
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _new(self) -> Path:
        self._made += 1
        name = f"{OWN}-{self._seed}-{self._made}"
        self._own.append(self._rng.choice(self._directories) / name)
        return self._own[-1]

    def _take(self) -> Path:
        return self._own.pop(self._rng.randrange(len(self._own)))


def main() -> None:
    """Write until killed."""
    writer = Writer(Path(sys.argv[1]), int(sys.argv[2]))
    writer.work()
    print("begun", flush=True)  # noqa: T201 -- the test waits for it
    while True:
        writer.work()
        time.sleep(0.0005)  # leave the program most of a CPU


if __name__ == "__main__":
    main()
