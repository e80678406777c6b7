"""Kill the program at chosen instants, and read what it left in its journal.

Starting Python takes longer than most of these runs. So one process loads the program and forks for
each run. A kill still ends a whole process, with its threads and its open journal.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import compiled
from tests.support.program import GID, Attrs, Ended

KILLED = -9  # the status of a killed run
WATCHED = 0.0005  # seconds between two checks of what a run has written


class Loaded:
    """The program, loaded once and forked for each run; one run at a time."""

    def __init__(self, backend: str, directory: Path, library: str = "kill_at") -> None:
        """Load the program with a backend and a preloaded library; *directory* takes the output."""
        self.backend = backend
        self._directory = directory
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fork_server"],
            env={
                **os.environ,
                "PYTHONPATH": str(compiled.CHECKOUT),
                "ARCHIPMIGRATE_BACKEND": backend,
                "LD_PRELOAD": str(compiled.library(library)),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(
        self, state: Path, *args: object, kill_at: int = 0, env: Mapping[str, str] | None = None
    ) -> Running:
        """Start a run; with *kill_at* it is killed in place of that changing call, counted from 1.

        *env* is added to its environment: parameters of the preloaded library.
        """
        assert self._server.stdin
        assert self._server.stdout
        out, err = self._directory / "out", self._directory / "err"
        order = {
            "args": [str(arg) for arg in args],
            "env": {"ARCHIPMIGRATE_STATE": str(state), "KILL_AT": str(kill_at), **(env or {})},
            "out": str(out),
            "err": str(err),
        }
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        # Unbuffered, for what select() says to be true.
        pipe = self._server.stdout.fileno()
        return Running(_number(pipe), pipe, out, err)

    def __call__(self, state: Path, *args: object, kill_at: int = 0) -> Ended:
        """Run to the end, whatever that is."""
        return self.start(state, *args, kill_at=kill_at).wait()

    def perms(self, state: Path, share: Path, *args: object, kill_at: int = 0) -> Ended:
        """Run `perms --json` to its end."""
        return self(state, "perms", "--json", "--group", GID, *args, share, kill_at=kill_at)

    def undo(self, state: Path, *args: object, kill_at: int = 0) -> Ended:
        """Run `undo --json` to its end."""
        return self(state, "undo", "--json", *args, kill_at=kill_at)

    def close(self) -> None:
        """End the process that has the program loaded."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A run that was started."""

    pid: int
    pipe: int
    out: Path
    err: Path

    def ended(self, within: float) -> bool:
        """Wait up to *within* seconds; return whether the run has ended."""
        return bool(select.select([self.pipe], [], [], within)[0])

    def kill(self) -> None:
        """Send SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        """Wait for the end and return it; the status of a killed run is -9."""
        status = _number(self.pipe)
        return Ended(status, self.out.read_text(), self.err.read_text())


def _number(pipe: int) -> int:
    text = b""
    while not text.endswith(b"\n"):
        byte = os.read(pipe, 1)
        assert byte, "the process that has the program loaded ended"
        text += byte
    return int(text)


def is_killed(ended: Ended) -> bool:
    """Say whether a run was killed, or (status 1) a process that worked for it."""
    return ended.status == KILLED or (ended.status == 1 and "ended by signal 9" in ended.err)


def strike(loaded: Loaded, state: Path, delay: float, *args: object) -> Ended:
    """Start a run and SIGKILL it *delay* seconds after it has begun to write to a journal."""
    before = _logs(state)
    running = loaded.start(state, *args)
    while not running.ended(WATCHED) and _logs(state) == before:
        pass
    if not running.ended(delay):
        running.kill()
    return running.wait()


def _logs(state: Path) -> list[tuple[str, int]]:
    """Return name and time of the write-ahead logs that are in use."""
    found = []
    for entry in os.scandir(state):
        with contextlib.suppress(FileNotFoundError):
            if entry.name.endswith("-wal") and entry.stat().st_size:
                found.append((entry.name, entry.stat().st_mtime_ns))
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Left:
    """What a run left in its journal: rows by table, and its counts."""

    header: Mapping[str, Any]
    batches: int
    unsettled: int
    frontier: int
    scopes: int
    entries: int
    changed: int


def left(state: Path, job: str = "perms") -> Left:
    """Read a copy of the latest journal of a job: only the program may recover the original."""
    with copied(state, job) as journal:
        count = journal.execute
        tallies = [json.loads(text) for (text,) in count("SELECT tally FROM scope")]
        return Left(
            json.loads(count("SELECT content FROM header").fetchone()[0]),
            count("SELECT count(*) FROM batch").fetchone()[0],
            count("SELECT count(*) FROM batch WHERE outcome IS NULL").fetchone()[0],
            count("SELECT count(*) FROM frontier").fetchone()[0],
            count("SELECT count(*) FROM scope WHERE id != 0").fetchone()[0],
            sum(tally.get("entries", 0) for tally in tallies),
            sum(tally.get("changed", 0) for tally in tallies),
        )


@contextlib.contextmanager
def copied(state: Path, job: str = "perms") -> Iterator[sqlite3.Connection]:
    """Open a copy of the latest journal of a job, without its index of the write-ahead log."""
    latest = max(state.glob(f"{job}-*.journal"), key=lambda path: path.stat().st_ctime_ns)
    with tempfile.TemporaryDirectory() as directory:
        for path in state.glob(f"{latest.name}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, directory)
        journal = sqlite3.connect(Path(directory) / latest.name)
        try:
            yield journal
        finally:
            journal.close()


def migrated(before: Mapping[bytes, Attrs], owner: int | None = None) -> dict[bytes, Attrs]:
    """Return the attrs that the upgrade guide gives a tree; what complies stays as it is.

    With *owner*, as the guide's commands with chown in place of chgrp give them.
    """
    after = {}
    for path, (mode, uid, gid) in before.items():
        new_mode, new_uid, new_gid = mode, uid, gid
        if not complies(mode, uid, gid, owner):
            new_gid = GID
            new_uid = uid if owner is None else owner
            if stat.S_ISDIR(mode):
                new_mode |= 0o2070
            else:
                new_mode &= ~0o6000 if mode & 0o010 else ~0o4000
                new_mode |= 0o060
        after[path] = (new_mode, new_uid, new_gid)
    return after


def undone(before: Mapping[bytes, Attrs], owner: int | None = None) -> dict[bytes, Attrs]:
    """Return the attrs of a tree after a run and its undo: set-id bits that files lost stay off."""
    after = migrated(before, owner)
    return {
        path: (mode & (after[path][0] | ~0o6000), uid, gid)
        for path, (mode, uid, gid) in before.items()
    }


def count_off(before: Mapping[bytes, Attrs], share: Path, owner: int | None = None) -> int:
    """Return the number of files of which set-id bits are off after an undo."""
    off = [path for path, then in undone(before, owner).items() if then != before[path]]
    return len({os.lstat(os.path.join(os.fsencode(share), path)).st_ino for path in off})


def set_bits_again(before: Mapping[bytes, Attrs], share: Path, owner: int | None = None) -> None:
    """Set the set-id bits that are off after an undo."""
    for path, then in undone(before, owner).items():
        if then != before[path]:
            os.chmod(os.path.join(os.fsencode(share), path), stat.S_IMODE(before[path][0]))


def complies(mode: int, uid: int, gid: int, owner: int | None = None) -> bool:
    """Return whether an entry may stay as it is."""
    if owner not in (None, uid):
        return not (stat.S_ISDIR(mode) or stat.S_ISREG(mode))
    if stat.S_ISDIR(mode):
        return gid == GID and mode & 0o2070 == 0o2070
    return not stat.S_ISREG(mode) or (gid == GID and mode & 0o060 == 0o060)


def expected_tally(root: Path, owner: int | None = None) -> dict[str, int]:
    """Return what a run over a tree must count, each inode with several names changed once."""
    inodes: set[int] = set()
    tally = dict.fromkeys(
        ("entries", "directories", "files", "others", "changed", "compliant", "hard_linked"), 0
    )
    for path, names, files in os.walk(root):
        links = [name for name in names if os.path.islink(os.path.join(path, name))]
        found = [os.lstat(path), *(os.lstat(os.path.join(path, n)) for n in [*links, *files])]
        for status in found:
            regular = stat.S_ISREG(status.st_mode)
            tally["entries"] += 1
            tally["directories"] += stat.S_ISDIR(status.st_mode)
            tally["files"] += regular
            tally["others"] += not (regular or stat.S_ISDIR(status.st_mode))
            tally["hard_linked"] += regular and status.st_nlink > 1
            is_right = complies(status.st_mode, status.st_uid, status.st_gid, owner)
            if not is_right and status.st_ino not in inodes:
                inodes.add(status.st_ino)
                tally["changed"] += 1
    tally["compliant"] = tally["entries"] - tally["others"] - tally["changed"]
    return tally | dict.fromkeys(("skipped", "vanished", "failed"), 0)


def tally_of(ended: Ended) -> dict[str, int]:
    """Return the counts of a summary."""
    names = ("entries", "directories", "files", "others", "changed", "compliant", "hard_linked")
    return {name: ended.summary[name] for name in (*names, "skipped", "vanished", "failed")}
