"""Contestants on an NFS mount, and `perms` past it: the kernel's server and client, in a guest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.nfs.guest import run_guest
from tests.nfs.packages import GUEST, absent

from . import nfs_programs, places

BEDS = {
    f"nfs-v{version[0]}-{round(1000 * round_trip)}ms": (version, round_trip)
    for round_trip in (0.0, 0.005)
    for version in ("3", "4.2")
}
SECONDS = 240.0  # about, each


def measure(bed: str, at: Path) -> dict[str, Any]:
    """Let all contestants run on shares of their own; return what is saved.

    Raises places.Unavailable if there can be no guest.
    """
    if packages := absent(GUEST):
        raise places.Unavailable(f"needs {', '.join(packages)}")
    version, round_trip = BEDS[bed]
    result = run_guest(nfs_programs.compare, at, version, round_trip, timeout=1100, memory="3G")
    if result.status:
        raise RuntimeError(result.err)
    return {"version": version, "round_trip": round_trip, "contestants": result.reports}
