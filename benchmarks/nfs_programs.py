"""The guest program of bench_nfs: contestants on shares of their own, through a mount."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from archipmigrate.testshare import make_share
from tests.nfs.inside import EXPORT, MOUNT, STATE, calls, delay, mount, report, serve, umount
from tests.support import drift

from .commands import FIND_PLUS, GID, TRIPLE

LANES = (1, 16, 64)
# Objects: enough for some seconds; those that wait for each call get fewer.
MANY, FEW = 1500, 120
SCANDIR = Path(__file__).with_name("scandir_loop.py")


def compare(version: str, round_trip: float) -> None:
    """Report, by contestant, entries, seconds, and NFS calls by operation."""
    serve(size="500M")
    contestants: dict[str, list[str]] = {f"perms, {lanes} lanes": _perms(lanes) for lanes in LANES}
    contestants["triple"] = ["sh", "-ec", TRIPLE]
    contestants["find-plus"] = ["sh", "-ec", FIND_PLUS]
    contestants["scandir"] = [sys.executable, str(SCANDIR), "{share}", "{gid}"]
    sizes = {}
    for number, name in enumerate(contestants):
        fast = not round_trip or name in ("perms, 16 lanes", "perms, 64 lanes")
        size = make_share(
            str(EXPORT / str(number)), objects=MANY if fast else FEW, volumes=5, object_bytes=0
        )
        sizes[name] = size.files + size.directories
    delay(1000 * round_trip / 2)
    for number, (name, words) in enumerate(contestants.items()):
        mount(version)
        command = [word.format(share=MOUNT / str(number), gid=GID) for word in words]
        with calls() as made:
            began = time.monotonic()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - began
        delay(0)
        umount()
        delay(1000 * round_trip / 2)
        left = len(drift(EXPORT / str(number), int(GID)))
        report(name, {"entries": sizes[name], "seconds": seconds, "calls": made, "left": left})


def _perms(lanes: int) -> list[str]:
    ours = [sys.executable, "-m", "archipmigrate", "perms", "-q", "--no-progress", "--fresh"]
    ours += ["--backend", "native", "--jobs", str(lanes), "--state", str(STATE)]
    return [*ours, "--group", "{gid}", "{share}"]
