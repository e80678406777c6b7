"""Measures, part by part: `make bench BENCH='ext4-filed-50k disk growth-10k'`.

Without BENCH all parts are run, those of pytest too; it says first how long that takes. Results go
to benchmarks/results; `python -m benchmarks.report` makes docs/benchmarks.md of them.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipmigrate.testshare import Layout

from . import beside, contest, growth, nfs_kernel, places, results
from .contestants import CONTESTANTS

Found = dict[str, Any]
Keep = Callable[[Found], object]
FILESYSTEMS = tuple(places.MAKE)
# Minutes that each takes, about.
PYTEST = {"codec": 2, "mapfiles": 6, "relocate": 15, "nfs_ganesha": 5, "lanes": 5}


@dataclass(frozen=True, slots=True)
class Part:
    """What can be measured by one command: its kind, its name, about how long, and how."""

    kind: str
    name: str
    seconds: float
    # From a directory for images and journals, what there was before, and what keeps what there is.
    measure: Callable[[Path, Found | None, Keep], Found] | None


def contests(patience: float) -> Iterator[contest.Part]:
    """Return the contests: small and large, in all states, on all filesystems and layouts."""
    for state in (contest.CHANGING, contest.COMPLIANT):
        for cache in (contest.WARM, contest.COLD):
            for filesystem in FILESYSTEMS:
                if filesystem == "tmpfs" and cache == contest.COLD:
                    continue  # it is always in memory
                yield contest.Part(filesystem, Layout.FILED, 50_000, state, cache, patience)
    for layout in (Layout.FLAT, Layout.DEEP):
        yield contest.Part("ext4", layout, 50_000, patience=patience)
    for state in (contest.CHANGING, contest.COMPLIANT):
        yield contest.Part("ext4", Layout.FILED, 200_000, state, patience=patience)


def parts(options: argparse.Namespace) -> Iterator[Part]:
    """Return everything that can be measured."""
    turns, chosen = options.turns, options.only

    def of_contest(part: contest.Part) -> Part:
        return Part(
            "contest",
            part.name,
            part.seconds(turns, chosen),
            lambda at, before, keep: contest.compete(part, turns, at, before, chosen, keep),
        )

    def of_load(place: str) -> Part:
        return Part(
            "beside",
            place,
            beside.seconds(place, turns),
            lambda at, before, _: beside.measure(place, turns, at, before),
        )

    def of_growth(objects: int) -> Part:
        return Part(
            "growth",
            f"growth-{objects // 1000}k",
            growth.seconds(objects),
            lambda at, _, __: growth.measure(objects, at),
        )

    def of_bed(bed: str) -> Part:
        return Part("nfs", bed, nfs_kernel.SECONDS, lambda at, _, __: nfs_kernel.measure(bed, at))

    yield from map(of_contest, contests(options.patience))
    yield from map(of_load, beside.RUNS)
    yield from map(of_bed, nfs_kernel.BEDS)
    yield from map(of_growth, options.sizes)
    for name, minutes in PYTEST.items():
        yield Part("pytest", name, 60 * minutes, None)


def main(words: Sequence[str]) -> int:
    """Run the parts that are named; return the exit status."""
    options = _parser().parse_args(words)
    every = list(parts(options))
    names = options.parts or ["*"]
    unknown = [name for name in names if not any(_named(part, name) for part in every)]
    wanted = [part for part in every if any(_named(part, name) for name in names)]
    for part in wanted:
        print(f"{part.kind:8} {part.name:34} about {part.seconds / 60:5.1f} min")
    whole = sum(part.seconds for part in wanted) / 60
    print(f"{len(wanted)} parts, {options.turns} turns each: about {whole:.0f} minutes", flush=True)
    if unknown:
        print(f"no such part: {', '.join(unknown)}", file=sys.stderr)
        return 2
    if options.list:
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is mounted is unmounted
    missing = False
    for part in wanted:
        missing |= not _run(part, options)
    return 1 if missing else 0


def _run(part: Part, options: argparse.Namespace) -> bool:
    """Measure one part and save it; return whether it could be measured."""
    print(f"\n{part.name}", flush=True)
    began, busy = time.monotonic(), round(os.getloadavg()[0], 1)
    if part.measure is None:
        command = [sys.executable, "-m", "pytest", "-s", "benchmarks", "-k", part.name]
        return subprocess.run(command, check=False, cwd=results.RESULTS.parents[1]).returncode == 0
    before = results.load(part.kind, part.name, options.results) if options.add else None
    busy = max(busy, (before or {}).get("load_average", 0))

    def keep(found: Found) -> Path:
        found = {"load_average": busy, **found}
        return results.save(part.kind, part.name, found, options.results)

    with tempfile.TemporaryDirectory(prefix="archipmigrate-bench-", dir=options.at) as at:
        try:
            path = keep(part.measure(Path(at), before, keep))
        except places.Unavailable as reason:
            print(f"NOT MEASURED: {reason}")
            return False
    print(f"{time.monotonic() - began:.0f} s: {path}", flush=True)
    return True


def _named(part: Part, name: str) -> bool:
    """Whether a name stands for a part: its own, its kind's, the beginning, or a pattern."""
    return fnmatch.fnmatch(part.name, name) or part.name.startswith(name + "-") or part.kind == name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="a part, a kind, or a pattern")
    parser.add_argument(
        "--list", action="store_true", help="say what there is, and how long it takes"
    )
    parser.add_argument("--turns", type=int, default=3, help="of each contestant (default: 3)")
    parser.add_argument("--add", action="store_true", help="add turns to those of the results")
    parser.add_argument(
        "--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="CONTESTANT"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=contest.PATIENCE,
        metavar="SECONDS",
        help="a slower contestant gets a smaller tree (default: %(default)s)",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        metavar="OBJECTS",
        default=[size for size in growth.SIZES if size != growth.BY_HAND],
        help=f"of the growth; {growth.BY_HAND} takes 20 GB of memory, and has to be asked for",
    )
    parser.add_argument("--at", type=Path, help="a directory on a disk for images and journals")
    parser.add_argument("--results", type=Path, default=results.RESULTS, metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
