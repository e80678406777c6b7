"""`relocate` against the least C program, and what administrators may write: see docs/relocate.md.

    make bench BENCH=relocate      a quarter of an hour; one filesystem, minutes:
    .venv/bin/python -m pytest -s benchmarks/bench_relocate.py -k 'bench_relocate and xfs'

Each filesystem is an image of its own, or memory. Contestants run in turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from archipmigrate.testshare import make_v03_share

from . import places
from .measure import Samples, keep_samples, take_turns

ROUNDS = 3
OBJECTS = 30_000
FEW = 1000  # for the shell loop, which starts three processes an object
HERE = Path(__file__).parent
SHELL = """
cd {blocks}; find . -name 'archip_*' -type f | while read -r path; do
    name=${{path##*/}}; digits=$(printf %s "$name" | sha256sum)
    rest=${{digits#??}}; last=${{rest#??}}
    place=${{digits%"$rest"}}/${{rest%"$last"}}/${{last%"${{last#??}}"}}
    mkdir -p "$place"; mv -n "$path" "$place/"
done; sync
"""
CONTESTANTS = ("native", "python", "relocate.c-2", "python-loop")


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile the yardstick."""
    program = tmp_path_factory.mktemp("bare") / "relocate"
    source = HERE / "relocate.c"
    subprocess.run(["gcc", "-O2", "-pthread", "-o", program, source], check=True)
    return str(program)


@pytest.fixture(scope="session", params=places.MAKE)
def filesystem(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """Mount a new filesystem."""
    top = tmp_path_factory.mktemp(request.param)
    with contextlib.ExitStack() as stack:
        try:
            at = stack.enter_context(places.filesystem(request.param, top))
        except places.Unavailable as missing:
            pytest.skip(str(missing))
        yield request.param, at
    shutil.rmtree(top)


def _ours(backend: str, share: Path, state: Path) -> Sequence[str]:
    words = ["-m", "archipmigrate", "relocate", "-q", "--no-progress", "--v03-stopped"]
    places = ["--blocks", str(share / "blocks"), "--maps", str(share / "maps")]
    return [sys.executable, *words, "--backend", backend, "--state", str(state), *places]


@pytest.fixture(scope="session")
def measured(
    filesystem: tuple[str, Path], bare: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Samples]:
    """Let the contestants take turns, and print the table."""
    share, state = filesystem[1] / "share", tmp_path_factory.mktemp("state")
    make_v03_share(str(share), objects=OBJECTS, volumes=50, object_bytes=0)
    blocks = str(share / "blocks")
    contestants = {
        "native": _ours("native", share, state),
        "python": _ours("python", share, state),
        "relocate.c-2": [bare, blocks, "2"],
        "python-loop": [sys.executable, str(HERE / "relocate_loop.py"), blocks],
    }

    def before() -> None:
        shutil.rmtree(state, ignore_errors=True)
        subprocess.run([bare, blocks, "1", "back"], check=True)
        os.sync()

    samples = take_turns(contestants, before, ROUNDS)
    limit = samples["relocate.c-2"]
    print(f"\n{filesystem[0]}: {OBJECTS:,} objects")
    for name, sample in samples.items():
        print(
            f"{name:14} {sample.seconds:6.2f} s wall {sample.cpu_seconds:6.2f} s CPU "
            f"{max(sample.memory) >> 10:4} MiB; of relocate.c: {limit.seconds / sample.seconds:.2f}"
            f" (wall) {limit.cpu_seconds / sample.cpu_seconds:.2f} (CPU)"
        )
    shutil.rmtree(share)
    return samples


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("contestant", CONTESTANTS)
def bench_relocate(
    measured: dict[str, Samples], contestant: str, benchmark: BenchmarkFixture
) -> None:
    """Report one contestant on one filesystem."""
    keep_samples(benchmark, measured[contestant])


def bench_relocate_shell(tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    """Report the shell loop: few objects."""
    make_v03_share(str(tmp_path / "share"), objects=FEW, volumes=5, object_bytes=0)
    command = SHELL.format(blocks=tmp_path / "share/blocks")
    samples = take_turns({"mv": ["bash", "-ec", command]}, lambda: None, 1)
    keep_samples(benchmark, samples["mv"])
    print(f"\nmv in a shell loop: {samples['mv'].cpu_seconds / FEW * 1e6:.0f} us CPU an object")
