"""How `perms` grows: time, memory, journal and resuming, from 10,000 objects to millions.

The share is in memory, the journal on the disk. A run is killed (SIGKILL) when half of the time is
over that the whole one took; the same command then resumes it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archipmigrate.testshare import make_share

from .commands import GID
from .contest import Tree, compile_limit, wrong_entries
from .contestants import CONTESTANTS
from .measure import run

SIZES = (10_000, 100_000, 1_000_000, 3_000_000)
BY_HAND = SIZES[-1]  # takes minutes, and 20 GB of memory
MEMORY = Path("/dev/shm")


def seconds(objects: int) -> float:
    """Say about how long `measure` takes."""
    return 5 + objects * 2.2e-4


def measure(objects: int, at: Path) -> dict[str, Any]:
    """Make a share, change all of it, put it back, and change it with a kill in the middle.

    *at* is a directory on a disk, for the journal.
    """
    limit = compile_limit(at)
    with _in_memory(objects) as (share, entries):
        tree = Tree(share, at / "state", limit, entries)
        command = [word for word in _command(tree) if word != "--fresh"]
        tree.put_back()
        whole = run(command)
        journal = sum(path.stat().st_size for path in tree.state.rglob("*") if path.is_file())
        wrong = wrong_entries(share)
        tree.put_back()
        half = whole.wall / 2
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as killed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                killed.wait(half)
            killed.send_signal(signal.SIGKILL)
        resumed = run(command)
        wrong += wrong_entries(share)
        shutil.rmtree(tree.state)
    return {
        "objects": objects,
        "entries": entries,
        "seconds": round(whole.wall, 3),
        "cpu": round(whole.cpu, 3),
        "kib": whole.kib,
        "journal": journal,
        "killed_after": round(half, 3),
        "resumed_in": round(resumed.wall, 3),
        "resumed_kib": resumed.kib,
        "wrong": wrong,
    }


@contextlib.contextmanager
def _in_memory(objects: int) -> Iterator[tuple[Path, int]]:
    """Make a share in memory. One that is kept there beforehand is taken as it is."""
    kept = MEMORY / f"archipmigrate-growth-{objects}"
    with contextlib.ExitStack() as stack:
        if not kept.exists():
            kept = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-", dir=MEMORY))
            )
        share, size = kept / "share", kept / "size.json"
        if not size.exists():
            made = make_share(str(share), objects=objects, volumes=100, object_bytes=0)
            size.write_text(json.dumps(made.files + made.directories), encoding="utf-8")
        yield share, json.loads(size.read_text(encoding="utf-8"))


def _command(tree: Tree) -> list[str]:
    native = CONTESTANTS["native"]
    return list(native.command(share=str(tree.share), gid=GID, state=str(tree.state), limit=""))
