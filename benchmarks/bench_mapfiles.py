"""`mapfiles` against what one would do by hand: see docs/mapfiles.md.

    make bench BENCH=mapfiles       some minutes

Contestants take turns, as in contest; what is printed are medians and ratios within one run.
The system calls are those of another run, under strace.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from archipmigrate.layout.placement import sha256_dir
from archipmigrate.maps.format import v1
from archipmigrate.testshare import OtherVolumes, make_share

from .measure import Samples, keep_samples, system_calls, take_turns

ROUNDS = 5
SURVEYED = 20_000  # volumes with a v2 map: two files each
UPGRADED = 2_000  # volumes with a v1 map of 100 objects
LARGEST = 1 << 20  # objects: 4 TiB
LOOPS = Path(__file__).with_name("map_loops.py")
PROGRAM = (sys.executable, "-m", "archipmigrate", "mapfiles", "-q", "--no-progress")
SURVEY = ("mapfiles-n", "loop", "find")
LANES = ("lanes-1", "lanes-2", "lanes-8", "no-keep", "loop")


@pytest.fixture(scope="session")
def surveyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Samples]]:
    """Look at maps that are v2 already."""
    top = tmp_path_factory.mktemp("survey")
    size = make_share(
        str(top / "share"), objects=0, volumes=0, others=OtherVolumes(v2=SURVEYED, objects=10)
    )
    maps = str(top / "share/maps")
    contestants: dict[str, Sequence[str]] = {
        "mapfiles-n": [*PROGRAM, "-n", "--maps", maps],
        "loop": [sys.executable, str(LOOPS), "look", maps],
        "find": ["find", maps, "-type", "f"],
    }
    samples = take_turns(contestants, lambda: None, ROUNDS)
    calls = {name: system_calls(command) for name, command in contestants.items()}
    _print("survey", contestants, samples, size.files, "file", calls)
    yield samples
    shutil.rmtree(top)


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Samples]]:
    """Upgrade v1 maps, anew each time."""
    top = tmp_path_factory.mktemp("upgrade")
    share, state = top / "share", top / "state"
    maps = str(share / "maps")

    def before() -> None:
        shutil.rmtree(share, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
        make_share(str(share), objects=0, volumes=0, others=OtherVolumes(v1=UPGRADED, objects=100))
        os.sync()  # what was written before is nobody's fault

    ours = [*PROGRAM, "--maps", maps, "--state", str(state)]
    contestants: dict[str, Sequence[str]] = {
        **{f"lanes-{lanes}": [*ours, "--jobs", str(lanes)] for lanes in (1, 2, 8)},
        "no-keep": [*ours, "--jobs", "8", "--no-keep"],
        "loop": [sys.executable, str(LOOPS), "upgrade", maps],
    }
    samples = take_turns(contestants, before, ROUNDS)
    calls = {}
    for name in ("lanes-1", "loop"):
        before()
        calls[name] = system_calls(contestants[name])
    _print("upgrade", contestants, samples, UPGRADED, "volume", calls)
    yield samples
    shutil.rmtree(top)


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Samples]]:
    """Upgrade one volume of 4 TiB."""
    top = tmp_path_factory.mktemp("large")
    maps, state = top / "maps", top / "state"
    source = top / "source"
    rng = random.Random(1)  # no two digests alike: what is kept for undo must not shrink
    with source.open("wb") as file:
        file.write(v1.HEADER.pack(v1.VERSION, LARGEST * v1.OBJECT_SIZE))
        for _ in range(LARGEST):
            file.write(v1.ENTRY.pack(1, rng.randbytes(32)))

    def before() -> None:
        shutil.rmtree(maps, ignore_errors=True)
        shutil.rmtree(state, ignore_errors=True)
        path = maps.joinpath(*map(os.fsdecode, sha256_dir(b"archip_largest")), "archip_largest")
        path.parent.mkdir(parents=True)
        shutil.copyfile(source, path)
        os.sync()

    ours = [*PROGRAM, "--maps", str(maps), "--state", str(state)]
    contestants: dict[str, Sequence[str]] = {
        "native": [*ours, "--backend", "native"],
        "no-keep": [*ours, "--backend", "native", "--no-keep"],
        "python": [*ours, "--backend", "python"],
        "loop": [sys.executable, str(LOOPS), "upgrade", str(maps)],
    }
    samples = take_turns(contestants, before, ROUNDS)
    _print("4 TiB", contestants, samples, LARGEST >> 13, "MiB of entries", {})
    yield samples
    shutil.rmtree(top)


def _print(
    title: str,
    contestants: Mapping[str, Sequence[str]],
    samples: Mapping[str, Samples],
    many: int,
    unit: str,
    calls: Mapping[str, int | None],
) -> None:
    base = samples[next(iter(contestants))]
    titles = ("wall s", "ratio", "CPU s", "ratio", "a second", "MiB", "calls each")
    lines = [
        f"\n{title}: {many:,} x {unit}, medians of {ROUNDS}",
        " ".join([f"{'':10}", *(f"{head:>10}" for head in titles)]),
    ]
    for name, taken in samples.items():
        count = calls.get(name)
        lines.append(
            f"{name:10} {taken.seconds:10.2f} {taken.seconds / base.seconds:10.2f} "
            f"{taken.cpu_seconds:10.2f} {taken.cpu_seconds / base.cpu_seconds:10.2f} "
            f"{many / taken.seconds:10,.0f} {max(taken.memory) / 1024:10.0f} "
            f"{count / many if count else float('nan'):10.1f}"
        )
    print("\n".join(lines), flush=True)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("contestant", SURVEY)
def bench_mapfiles_survey(
    surveyed: dict[str, Samples], contestant: str, benchmark: BenchmarkFixture
) -> None:
    """Report one way to look at all maps."""
    keep_samples(benchmark, surveyed[contestant])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("contestant", LANES)
def bench_mapfiles_upgrade(
    upgraded: dict[str, Samples], contestant: str, benchmark: BenchmarkFixture
) -> None:
    """Report one way to upgrade many small volumes."""
    keep_samples(benchmark, upgraded[contestant])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("contestant", ["native", "no-keep", "python", "loop"])
def bench_mapfiles_large(
    large: dict[str, Samples], contestant: str, benchmark: BenchmarkFixture
) -> None:
    """Report one way to upgrade a volume of 4 TiB."""
    keep_samples(benchmark, large[contestant])
