"""`perms` through an NFS mount against what administrators use: see docs/nfs.md.

    make bench PYTEST_ARGS='-k nfs'      some minutes

In a guest with the kernel's server and client (see tests/nfs), with 0 and 5 ms a round trip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.nfs.guest import run_guest
from tests.nfs.packages import GUEST, require

from . import nfs_programs
from .measure import Replay


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", ["3", "4.2"])
@pytest.mark.parametrize("round_trip", [0.0, 0.005], ids=["0ms", "5ms"])
def bench_nfs(version: str, round_trip: float, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """Report all contestants of one version and one round trip; the time is that of 16 lanes."""
    require(GUEST)
    result = run_guest(
        nfs_programs.compare, tmp_path, version, round_trip, timeout=900, memory="2G"
    )
    assert result.status == 0, result.err
    found: dict[str, Any] = result.reports
    print(f"\nNFS v{version}, {1000 * round_trip:.0f} ms round trip")
    print(f"{'':18} {'entries':>8} {'seconds':>8} {'entries/s':>9} {'calls/entry':>11}")
    for name, seen in found.items():
        made = sum(seen["calls"].values())
        print(
            f"{name:18} {seen['entries']:8,} {seen['seconds']:8.1f} "
            f"{seen['entries'] / seen['seconds']:9,.0f} {made / seen['entries']:11.2f}"
        )
        assert seen["left"] == 0, name
        benchmark.extra_info[name] = seen["entries"] / seen["seconds"]
    benchmark._timer = Replay([found["perms, 16 lanes"]["seconds"]])  # noqa: SLF001 -- as there
    benchmark.pedantic(lambda: None, rounds=1, iterations=1)  # type: ignore[no-untyped-call]
