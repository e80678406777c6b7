"""`perms` against what administrators use, and against the least C program: see docs/tuning.md.

    make bench                                       all of it: more than an hour
    make bench PYTEST_ARGS='-k filed-50000'

Each group is run once, contestants in turns; pytest-benchmark then reports the wall times, and the
table that is printed has CPU times, memory and system calls beside them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from archipmigrate.testshare import Layout, make_share

from .commands import FIND_PLUS, GID, GUIDE, TRIPLE
from .measure import Samples, keep_samples, system_calls, take_turns

ROUNDS = 5
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Tree:
    """A share to run on."""

    name: str
    objects: int
    layout: Layout
    compliant: bool = False


TREES = [
    Tree("filed-50000", 50_000, Layout.FILED),
    Tree("filed-200000", 200_000, Layout.FILED),
    Tree("flat-200000", 200_000, Layout.FLAT),
    Tree("guide-1000", 1_000, Layout.FILED),
    Tree("compliant-200000", 200_000, Layout.FILED, compliant=True),
]
CONTESTANTS = ("native", "python", "limit-2", "limit-1", "triple", "find-plus", "scandir", "guide")


@pytest.fixture(scope="session")
def limit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the yardstick."""
    program = tmp_path_factory.mktemp("limit") / "limit"
    source = HERE / "limit.c"
    subprocess.run(["gcc", "-O2", "-pthread", "-o", program, source], check=True)
    return str(program)


@pytest.fixture(scope="session", params=TREES, ids=lambda tree: tree.name)
def measured(
    request: pytest.FixtureRequest, limit: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Samples]]:
    """Let the contestants take turns on a tree, and print the table."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to change groups")
    tree: Tree = request.param
    top = tmp_path_factory.mktemp(tree.name)
    share, state = top / "share", top / "state"
    size = make_share(str(share), objects=tree.objects, volumes=100, layout=tree.layout)
    entries = size.files + size.directories

    def before() -> None:
        shutil.rmtree(state, ignore_errors=True)
        if not tree.compliant:
            subprocess.run([limit, share, "0", "2", "reset"], check=True)

    contestants = _contestants(tree, share, state, limit)
    if tree.compliant:
        subprocess.run([limit, share, GID, "2"], check=True)
    before()  # and the cache is warm
    samples = take_turns(contestants, before, ROUNDS)
    calls = {}
    for name, command in contestants.items():
        if tree.objects <= 50_000 and name != "guide":  # strace would follow 10,000 processes
            before()
            calls[name] = system_calls(command)
    _print(tree, entries, samples, calls)
    yield samples
    shutil.rmtree(top)


def _contestants(tree: Tree, share: Path, state: Path, limit: str) -> dict[str, Sequence[str]]:
    ours = [sys.executable, "-m", "archipmigrate", "perms", "-q", "--no-progress"]
    ours += ["--group", GID, "--state", str(state), str(share)]
    fill = {"gid": GID, "share": share}
    every: dict[str, Sequence[str]] = {
        "native": [*ours, "--backend", "native"],
        "python": [*ours, "--backend", "python"],
        "limit-2": [limit, str(share), GID, "2"],
        "limit-1": [limit, str(share), GID, "1"],
        "triple": ["sh", "-ec", TRIPLE.format(**fill)],
        "find-plus": ["sh", "-ec", FIND_PLUS.format(**fill)],
        "scandir": [sys.executable, str(HERE / "scandir_loop.py"), str(share), GID],
        "guide": ["sh", "-ec", GUIDE.format(**fill)],
    }
    if tree.name.startswith("guide"):
        return {name: every[name] for name in ("native", "guide")}
    if tree.compliant:
        return {name: every[name] for name in ("native", "python", "limit-2", "triple")}
    del every["guide"]
    return every


def _print(
    tree: Tree, entries: int, samples: dict[str, Samples], calls: dict[str, int | None]
) -> None:
    base = samples["native"]
    titles = ("wall s", "x native", "CPU s", "x native", "us/entry")
    heads = " ".join(f"{title:>8}" for title in titles)
    lines = [
        f"\n{tree.name}: {entries:,} entries, medians of {ROUNDS}",
        f"{'':10} {heads} {'MiB':>6} {'calls/entry':>11}",
    ]
    for name, taken in samples.items():
        count = calls.get(name)
        lines.append(
            f"{name:10} {taken.seconds:8.2f} {taken.seconds / base.seconds:8.2f} "
            f"{taken.cpu_seconds:8.2f} {taken.cpu_seconds / base.cpu_seconds:8.2f} "
            f"{taken.cpu_seconds / entries * 1e6:8.1f} {max(taken.memory) / 1024:6.0f} "
            f"{count / entries if count else float('nan'):11.2f}"
        )
    print("\n".join(lines), flush=True)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("contestant", CONTESTANTS)
def bench_perms(measured: dict[str, Samples], contestant: str, benchmark: BenchmarkFixture) -> None:
    """Report one contestant on one tree."""
    if contestant not in measured:
        pytest.skip("not run on this tree")
    keep_samples(benchmark, measured[contestant])
