"""What servers and guests could leave behind: processes, files, mounts.

Other tests run at the same time, with guests of their own. So this looks for names that are ours,
and what is everybody's, /dev/shm, may have something new for a moment.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 20.0  # seconds in which others remove what they have in /dev/shm, too
MEMORY = "vm_file-"  # the guest's memory: removed as soon as it is opened (UML's os-Linux/mem.c)


@contextlib.contextmanager
def leaving_nothing(directory: Path) -> Iterator[None]:
    """Make temporary files go to a directory; assert that no trace of a server or guest is left."""
    before, memory = tempfile.tempdir, _memory()
    tempfile.tempdir = str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before
    assert not list(directory.iterdir())
    assert not processes(directory)
    assert f"{directory}/" not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    end = time.monotonic() + PATIENCE
    while not _memory() <= memory:
        assert time.monotonic() < end, _memory() - memory
        time.sleep(0.01)


def _memory() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith(MEMORY)}


def processes(directory: Path) -> list[str]:
    """Return the command lines that name something in a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if f"{directory}/" in line]
