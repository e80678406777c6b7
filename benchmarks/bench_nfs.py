"""`perms` over NFS, directly and through a mount, against what administrators use: see docs/nfs.md.

    python -m pytest -s benchmarks -k nfs --benchmark-json=nfs.json      half an hour
    python -m benchmarks.plot_nfs nfs.json docs/nfs.svg            needs archipmigrate[plot]

The kernel's server and client in a guest (see tests/nfs), with 0 and 5 ms a round trip; and
nfs-ganesha, directly, with 0, 1.4 and 5.5 ms.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from archipmigrate.testshare import make_share
from tests.nfs.ganesha import Ganesha
from tests.nfs.guest import run_guest
from tests.nfs.latency import Latency
from tests.nfs.packages import GANESHA, GUEST, require
from tests.support.program import drift

from . import nfs_kernel, nfs_programs
from .commands import GID
from .measure import keep

# A disk that the journal is on, too, would be what is measured: each sync of that waits for all.
MEMORY = Path("/dev/shm")
OBJECTS = {1: 600, 16: 6000, 64: 12_000, 256: 24_000}


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Make a directory in memory, if there is such."""
    at = MEMORY if MEMORY.is_dir() else tmp_path
    with tempfile.TemporaryDirectory(prefix="archipmigrate-", dir=at) as name:
        yield Path(name)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bed", nfs_kernel.BEDS)
def bench_nfs_kernel(bed: str, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """Report all contestants of one version and one round trip."""
    require(GUEST)
    found = nfs_kernel.measure(bed, tmp_path)
    what = f"the kernel's server, v{found['version']}"
    _show(what, found["round_trip"], found["contestants"], benchmark)


@pytest.mark.timeout(1200)
def bench_nfs_lanes(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """Report what `--jobs auto` comes to in ten seconds, against fixed numbers: v3, 5 ms."""
    require(GUEST)
    result = run_guest(nfs_programs.lanes, tmp_path, "3", 0.005, timeout=1100, memory="4G")
    assert result.status == 0, result.err
    rates = {
        jobs: median(result.reports[f"{turn} {jobs}"] for turn in range(nfs_programs.TURNS))
        for jobs in nfs_programs.JOBS
    }
    best = max(rate for jobs, rate in rates.items() if jobs != "auto")
    print("\nmount, v3, 5 ms round trip")
    for jobs, rate in rates.items():
        print(f"--jobs {jobs:>4} {rate:6,.0f} entries/s, {rate / best:.2f} of the best")
        benchmark.extra_info[jobs] = rate
    keep(benchmark, [nfs_programs.WINDOW])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("round_trip", [0.0, 0.0014, 0.0055], ids=["0ms", "1.4ms", "5.5ms"])
def bench_nfs_ganesha(
    version: int,
    round_trip: float,
    in_memory: Path,
    tmp_path: Path,
    benchmark: BenchmarkFixture,
) -> None:
    """Report how the rate grows with the calls in flight; the share is in memory."""
    require(GANESHA)
    found = {}
    for calls in nfs_programs.IN_FLIGHT:
        share = in_memory / str(calls)
        make_share(str(share), objects=OBJECTS[calls], volumes=5, object_bytes=0)
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(Ganesha(share))
            port = 0
            if round_trip:
                # The proxy itself takes 0.5 ms a round trip, two processes more on two cores.
                port = stack.enter_context(Latency(server.port, (round_trip - 0.0005) / 2)).port
            words = nfs_programs.perms(calls, server.url(version, port=port))
            state = ["--state", str(tmp_path / "state")]
            command = [word.format(gid=GID) for word in words]
            command[command.index("--state") : command.index("--state") + 2] = state
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        summary = json.loads(done.stdout.splitlines()[-1])
        found[f"direct, {calls} in flight"] = {
            "entries": summary["changed"],
            "seconds": summary["seconds"],
            "calls": {},
            "left": len(drift(share, int(GID))),
        }
    _show(f"ganesha, v{version}", round_trip, found, benchmark)


def _show(
    what: str, round_trip: float, found: Mapping[str, Any], benchmark: BenchmarkFixture
) -> None:
    """Print a table, and keep the rates; the time is that of the most calls in flight."""
    print(f"\n{what}, {1000 * round_trip:.1f} ms round trip")
    print(f"{'':22} {'entries':>8} {'seconds':>8} {'entries/s':>9} {'calls/entry':>11}")
    for name, seen in found.items():
        made = sum(seen["calls"].values())
        calls = f"{made / seen['entries']:11.2f}" if made else ""
        rate = seen["entries"] / seen["seconds"]
        wrong = f" WRONG: {seen['left']:,}" if seen["left"] else ""
        print(f"{name:22} {seen['entries']:8,} {seen['seconds']:8.1f} {rate:9,.0f} {calls}{wrong}")
        assert seen["left"] == 0 or name in nfs_programs.OTHERS, name
        benchmark.extra_info[name] = rate
    benchmark.extra_info["what"] = what
    benchmark.extra_info["round trip"] = round_trip
    keep(benchmark, [found["direct, 256 in flight"]["seconds"]])
