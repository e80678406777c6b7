"""The guest program of bench_nfs: contestants on shares of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from archipmigrate.testshare import make_share
from tests.nfs.inside import EXPORT, MOUNT, STATE, calls, delay, mount, report, serve, umount
from tests.support import drift

from .commands import FIND_PLUS, GID, TRIPLE

LANES = (1, 16, 64)
IN_FLIGHT = (1, 16, 64, 256)
# Objects: enough for some seconds; those that wait for each call get fewer.
MOST, MANY, FEW = 6000, 1500, 120
SCANDIR = Path(__file__).with_name("scandir_loop.py")


def compare(version: str, round_trip: float) -> None:
    """Report, by contestant, entries, seconds, and the NFS calls of the kernel's client.

    Of `perms` the seconds are the run's own: Python takes 1.3 s to start here.
    """
    serve(size="900M")
    mounted = {f"mount, {lanes} lanes": perms(lanes, "{share}") for lanes in LANES}
    mounted["triple"] = ["sh", "-ec", TRIPLE]
    mounted["find-plus"] = ["sh", "-ec", FIND_PLUS]
    mounted["scandir"] = [sys.executable, str(SCANDIR), "{share}", "{gid}"]
    url = f"nfs://127.0.0.1{EXPORT if version == '3' else ''}/{{number}}?version={version[0]}"
    direct = {f"direct, {calls} in flight": perms(calls, url) for calls in IN_FLIGHT}
    sizes = {}
    for number, name in enumerate((*mounted, *direct)):
        few = round_trip and name in ("mount, 1 lanes", "triple", "find-plus", "scandir")
        objects = FEW if few else MANY if name in mounted else MOST
        if name == "direct, 1 in flight" and round_trip:
            objects = FEW
        size = make_share(str(EXPORT / str(number)), objects=objects, volumes=5, object_bytes=0)
        sizes[name] = size.files + size.directories
    delay(1000 * round_trip / 2)
    for number, (name, words) in enumerate((*mounted.items(), *direct.items())):
        if name in mounted:
            mount(version)
        at = {"share": MOUNT / str(number), "gid": GID, "number": number}
        command = [word.format(**at) for word in words]
        if name in mounted:
            with calls() as made:
                seconds = timed(command)
            delay(0)
            umount()
            delay(1000 * round_trip / 2)
        else:
            made, seconds = Counter(), timed(command)
        left = len(drift(EXPORT / str(number), int(GID)))
        report(name, {"entries": sizes[name], "seconds": seconds, "calls": made, "left": left})


def perms(jobs: int, share: str) -> list[str]:
    """Return the command with so many lanes, or calls in flight; to be filled in with `gid`."""
    ours = [sys.executable, "-m", "archipmigrate", "perms", "--json", "--no-progress", "--fresh"]
    ours += ["--backend", "native"] if share == "{share}" else []
    return [*ours, "--jobs", str(jobs), "--state", str(STATE), "--group", "{gid}", share]


def timed(command: list[str]) -> float:
    """Run a command; return its seconds, or those that it says itself."""
    began = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - began
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"]) if done.stdout else seconds
