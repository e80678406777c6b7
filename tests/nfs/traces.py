"""What servers and guests could leave behind: processes, files, mounts."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def leaving_nothing(directory: Path) -> Iterator[None]:
    """Make temporary files go to a directory; assert that no trace of a server or guest is left."""
    before = tempfile.tempdir, _system()
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
    assert not list(directory.iterdir())
    assert not processes(directory)
    assert _system() == before[1]


def _system() -> tuple[set[str], str]:
    """Return what there is of files in shared memory, and of mounts."""
    return set(os.listdir("/dev/shm")), Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def processes(directory: Path) -> list[str]:
    """Return the command lines that name something in a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if f"{directory}/" in line]
