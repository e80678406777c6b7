"""Runs programs and measures them: wall time, CPU time, peak memory, system calls.

Contestants take turns (a b c a b c ...), so that what else the machine does hits all of them alike;
what is reported are medians, and ratios within one run.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture


@dataclass(slots=True)
class Samples:
    """What one contestant took, a figure a run: seconds of wall and CPU time, KiB of memory."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median of the wall times."""
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        """The median of the CPU times."""
        return statistics.median(self.cpu)


def take_turns(
    contestants: Mapping[str, Sequence[str]], before: Callable[[], None], rounds: int
) -> dict[str, Samples]:
    """Run every contestant *rounds* times in turns, each after *before*, which is not measured."""
    samples = {name: Samples() for name in contestants}
    for _ in range(rounds):
        for name, command in contestants.items():
            before()
            done = run(command)
            samples[name].wall.append(done.wall)
            samples[name].cpu.append(done.cpu)
            samples[name].memory.append(done.kib)
    return samples


# Runs a command and prints wall seconds, CPU seconds, peak KiB and its status. It is a process of
# its own, because one that is forked begins with its parent's size as its peak.
LAUNCHER = """
import os, sys, time
began = time.monotonic()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
wall = time.monotonic() - began
print(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What a command took: seconds of wall and CPU time, KiB of memory; and its exit status."""

    wall: float
    cpu: float
    kib: int
    status: int
    err: str


def launch(command: Sequence[str]) -> Run:
    """Run a command; its children count, too.

    Of programs that take less than 10 MiB the peak of memory is that of a bare Python.
    """
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)]
    done = subprocess.run(launcher, check=True, capture_output=True, text=True)
    wall, cpu, memory, status = done.stdout.splitlines()[-1].split()
    return Run(float(wall), float(cpu), int(memory), int(status), done.stderr)


def run(command: Sequence[str]) -> Run:
    """Run a command that must succeed."""
    done = launch(command)
    if done.status:
        raise RuntimeError(f"{command}: {done}")
    return done


def system_calls(command: Sequence[str]) -> int | None:
    """Return how many system calls a command makes, all threads together; None without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "calls")
        subprocess.run(
            [strace, "-f", "-c", "-qq", "-o", log, *command], check=True, capture_output=True
        )
        total = re.search(r"([\d]+)\s+(?:\d+\s+)?total", log.read_text())
    return int(total[1]) if total else None


def keep(benchmark: BenchmarkFixture, seconds: Sequence[float]) -> None:
    """Hand pytest-benchmark the times of runs that were measured before."""
    ticks = iter([tick for taken in seconds for tick in (0.0, taken)])
    benchmark._timer = lambda: next(ticks)  # noqa: SLF001 -- there is no public way to give it
    benchmark.pedantic(lambda: None, rounds=len(seconds), iterations=1)  # type: ignore[no-untyped-call]


def keep_samples(benchmark: BenchmarkFixture, samples: Samples) -> None:
    """Hand pytest-benchmark what one contestant took."""
    benchmark.extra_info["cpu_seconds"] = samples.cpu_seconds
    benchmark.extra_info["peak_kib"] = max(samples.memory)
    keep(benchmark, samples.wall)
