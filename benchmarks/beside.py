"""What a run costs a VM on the same disk, or the same NFS server: `load.c` beside `perms`.

The load writes 4 KiB at random places, each durable before the next. It runs alone, then beside
each kind of run, in turns, for as long as the run takes, or for WINDOW.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from archipmigrate.testshare import make_share
from tests.nfs.ganesha import Ganesha

from . import places
from .commands import GID, TRIPLE
from .contest import Tree, compile_limit
from .contestants import HERE

WINDOW = ALONE_FOR = 4.0  # seconds
FILESYSTEM = "ext4"
DISK = 64  # MiB that the load writes to
OBJECTS = 20_000
ALONE = "alone"
DISK_PLACE, NFS_PLACE = "disk", "ganesha"
# Options of `perms`; None is another program.
RUNS: Mapping[str, Mapping[str, Sequence[str] | None]] = {
    DISK_PLACE: {
        "full": (),
        "jobs-1": ("--jobs", "1"),
        "max-ops-20000": ("--max-ops", "20000"),
        "max-ops-5000": ("--max-ops", "5000"),
        "triple": None,
    },
    NFS_PLACE: {
        "full": ("--jobs", "512"),
        "adaptive": (),
        "jobs-16": ("--jobs", "16"),
        "max-ops-5000": ("--max-ops", "5000"),
        "max-ops-2000": ("--max-ops", "2000"),
    },
}
MODES = (ALONE, *dict.fromkeys(name for runs in RUNS.values() for name in runs))


def seconds(place: str, turns: int) -> float:
    """Say about how long `measure` takes."""
    return turns * (len(RUNS[place]) + 1) * (WINDOW + 2) + 12


def measure(
    place: str,
    turns: int,
    at: Path,
    before: Mapping[str, Any] | None = None,
    objects: int = OBJECTS,
) -> dict[str, Any]:
    """Run the load alone and beside runs; return what is saved, with the turns of *before*.

    Raises places.Unavailable if it cannot be measured here.
    """
    if place == NFS_PLACE and shutil.which("ganesha.nfsd") is None:
        raise places.Unavailable("needs nfs-ganesha, nfs-ganesha-vfs")
    runs: dict[str, list[Any]] = {name: [] for name in (ALONE, *RUNS[place])}
    for name, kept in (before or {}).get("runs", {}).items():
        runs[name] += kept
    program = at / "load"
    subprocess.run(["gcc", "-O2", "-o", program, HERE / "load.c"], check=True)
    with places.filesystem(FILESYSTEM, at) as top:
        disk, share = top / "disk", top / "share"
        disk.write_bytes(bytes(DISK << 20))
        size = make_share(str(share), objects=objects, volumes=100)
        tree = Tree(share, at / "state", compile_limit(at), size.files + size.directories)
        with _served(place, top, disk) as (url, words):
            for turn in range(turns):
                for name, kept in runs.items():
                    tree.put_back()
                    places.drop_caches()
                    command = None if name == ALONE else _command(RUNS[place][name], url, tree)
                    one = _beside([str(program), *words], command, at)
                    print(f"turn {turn + 1}/{turns} {name:14} {one}")
                    kept.append(one)
    return {"place": place, "entries": tree.entries, "runs": runs}


@contextlib.contextmanager
def _served(place: str, top: Path, disk: Path) -> Iterator[tuple[str, list[str]]]:
    """Give the share's path or URL, and the arguments of the load."""
    if place == DISK_PLACE:
        yield str(top / "share"), [str(disk), str(DISK)]
        return
    with Ganesha(top) as server:
        handle = _handle(server, disk.name)
        url = server.url(4).replace("?", "/share?")
        yield url, [str(server.port), str(DISK), handle.hex()]


def _command(options: Sequence[str] | None, share: str, tree: Tree) -> list[str]:
    if options is None:
        return ["sh", "-c", TRIPLE.format(gid=GID, share=share)]
    ours = [sys.executable, "-m", "archipmigrate", "perms", "--json", "--no-progress", "--fresh"]
    return [*ours, *options, "--group", GID, "--state", str(tree.state), share]


def _beside(load: Sequence[str], command: Sequence[str] | None, at: Path) -> dict[str, Any]:
    """Run the load until the command ends, or for WINDOW; say how both did."""
    said, written = at / "said", at / "written"
    with said.open("wb") as out, written.open("wb") as latencies:
        run = subprocess.Popen(command, stdout=out) if command else None
        began = time.monotonic()
        loading = subprocess.Popen(load, stdout=latencies)
        if run is None:
            time.sleep(ALONE_FOR)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(WINDOW)
        took = time.monotonic() - began
        loading.send_signal(signal.SIGTERM)
        if loading.wait():
            raise RuntimeError(f"{load}: {loading.returncode}")
        if run:
            run.send_signal(signal.SIGINT)
            if run.wait() not in (0, 130, -signal.SIGINT):
                raise RuntimeError(f"{command}: {run.returncode}")
    found = {"seconds": round(took, 2), **_latencies(written)}
    lines = said.read_text(encoding="utf-8").splitlines()
    summary = json.loads(lines[-1]) if lines else {}
    if "changed" in summary:  # it had begun
        found["scanned"], found["changed"] = summary["entries"], summary["changed"]
        found["run_ops_a_second"] = round((summary["entries"] + 2 * summary["changed"]) / took)
    return found


def _latencies(written: Path) -> dict[str, Any]:
    """Return operations a second, and percentiles in microseconds."""
    taken = sorted(int(line) for line in written.read_text(encoding="ascii").split())
    cuts = statistics.quantiles(taken, n=1000, method="inclusive")  # none above the largest
    return {
        "ops_a_second": round(len(taken) / (sum(taken) / 1e6)),
        "p50": round(cuts[499]),
        "p95": round(cuts[949]),
        "p99": round(cuts[989]),
        "p99.9": round(cuts[998]),
        "max": taken[-1],
    }


def _handle(server: Ganesha, name: str) -> bytes:
    """Return the v3 handle of a file in a server's export (RFC 1813: MNT, LOOKUP)."""
    export = _opaque(str(server.export).encode())
    root = _call(server.mount_port, 100005, 1, export)
    return _call(server.port, 100003, 3, root + _opaque(name.encode()))[4:]


def _opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + bytes(-len(data) % 4)


def _call(port: int, program: int, procedure: int, arguments: bytes) -> bytes:
    """Make a call as root; return the handle in its reply, with its length before it."""
    head = struct.pack(">13I", 1, 0, 2, program, 3, procedure, 1, 20, 0, 0, 0, 0, 0)
    call = head + bytes(8) + arguments
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(struct.pack(">I", len(call) | 1 << 31) + call)
        reply = one.recv(4, socket.MSG_WAITALL)
        reply = one.recv(struct.unpack(">I", reply)[0] & 0x7FFFFFFF, socket.MSG_WAITALL)
    accepted, status, length = struct.unpack_from(">3I", reply, 20)
    if accepted or status:
        raise RuntimeError(f"NFS: {accepted}, {status}")
    return reply[28 : 32 + length]
