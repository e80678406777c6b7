"""The guest program of bench_nfs: contestants on shares of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from archipmigrate.testshare import make_share
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    MOUNT,
    STATE,
    calls,
    calls_so_far,
    delay,
    mount,
    report,
    serve,
    umount,
)
from tests.support.program import drift

from .commands import FIND_PLUS, GID, TRIPLE
from .contestants import CONTESTANTS

LANES = (1, 16, 64)
JOBS = ("1", "4", "16", "64", "auto")
TURNS = 3
WINDOW = 4.0  # seconds
OBJECTS = {
    "1": 500,
    "4": 2000,
    "16": 8000,
    "64": 24_000,
    "auto": 48_000,
}  # for six seconds, sixteen
IN_FLIGHT = (1, 16, 64, 256)
# Objects: enough for some seconds; those that wait for each call get fewer.
MOST, MANY, FEW = 6000, 1500, 120
OTHERS = ("fd", "bfs", "rchm")  # where they are installed
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
    for name in OTHERS:
        if program := CONTESTANTS[name].program():
            template = CONTESTANTS[name].words
            mounted[name] = [word.replace("{program}", program) for word in template]
    url = f"nfs://127.0.0.1{EXPORT if version == '3' else ''}/{{number}}?version={version[0]}"
    direct = {f"direct, {calls} in flight": perms(calls, url) for calls in IN_FLIGHT}
    sizes = {}
    for number, name in enumerate((*mounted, *direct)):
        few = round_trip and name in ("mount, 1 lanes", "triple", "find-plus", "scandir", *OTHERS)
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


def lanes(version: str, round_trip: float) -> None:
    """Report entries a second through a mount by `--jobs`, each in turn: of auto after ten seconds.

    WINDOW seconds of a run that goes on are looked at: each entry is two changes.
    """
    serve(size="2G")
    for turn in range(TURNS):
        for jobs in JOBS:
            share = f"{turn}-{jobs}"
            make_share(str(EXPORT / share), objects=OBJECTS[jobs], volumes=5, object_bytes=0)
    delay(1000 * round_trip / 2)
    for turn in range(TURNS):
        for jobs in JOBS:
            mount(version)
            at = {"share": MOUNT / f"{turn}-{jobs}", "gid": GID}
            command = [word.format(**at) for word in perms(jobs, "{share}")]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
                while not calls_so_far()["SETATTR"]:
                    time.sleep(0.05)
                time.sleep(10 if jobs == "auto" else 2)
                began, made = time.monotonic(), calls_so_far()["SETATTR"]
                time.sleep(WINDOW)
                made, seconds = calls_so_far()["SETATTR"] - made, time.monotonic() - began
                assert process.poll() is None, f"{jobs} lanes were done too early"
                process.send_signal(signal.SIGINT)
            report(f"{turn} {jobs}", made / 2 / seconds)
            umount()


def perms(jobs: int | str, share: str) -> list[str]:
    """Return the command with *jobs* lanes, or calls in flight; to be filled in with `gid`."""
    ours = [sys.executable, "-m", "archipmigrate", "perms", "--json", "--no-progress", "--fresh"]
    ours += ["--backend", "native"] if share == "{share}" else []
    return [*ours, "--jobs", str(jobs), "--state", str(STATE), "--group", "{gid}", share]


def timed(command: list[str]) -> float:
    """Run a command; return its seconds, or those that it says itself.

    Whether it did its job is what it left.
    """
    began = time.monotonic()
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    seconds = time.monotonic() - began
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"]) if done.stdout else seconds
