"""How many calls are in flight, by a simulated server that serves one call at a time."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.program import need

HERE = Path(__file__).parent
ROOT = Path(__file__).parents[2]
MIN_LIMIT = 4
TARGET = 100_000  # us that calls may queue

Simulate = Callable[..., list[int]]


@pytest.fixture(scope="module")
def simulate(tmp_path_factory: pytest.TempPathFactory) -> Simulate:
    """Call with what pace_sim.c takes: the limit after each second."""
    program = tmp_path_factory.mktemp("pace") / "pace_sim"
    sources = [HERE / "pace_sim.c", ROOT / "native" / "nfs" / "proto" / "pace.c"]
    subprocess.run(
        [need("gcc"), f"-I{ROOT}/native", "-O1", "-pthread", "-o", program, *sources], check=True
    )

    def run(*arguments: int) -> list[int]:
        words = [str(argument) for argument in (program, *arguments)]
        out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        return [int(line) for line in out.split()]

    return run


@pytest.mark.parametrize("trip", [200, 5_500, 300_000])
def test_fast_server_gets_all_calls_however_far_it_is(simulate: Simulate, trip: int) -> None:
    assert simulate(256, trip, 40, 10) == [256] * 10


@pytest.mark.parametrize("service", [2_000, 5_000, 20_000])
def test_calls_to_a_slow_server_do_not_wait_long_for_each_other(
    simulate: Simulate, service: int
) -> None:
    bounds = simulate(256, 5_500, service, 60)
    assert all(later <= earlier for earlier, later in itertools.pairwise(bounds))
    assert bounds[-1] * service <= 1.5 * TARGET
    assert bounds[-1] >= MIN_LIMIT


def test_server_that_slows_and_recovers_is_followed(simulate: Simulate) -> None:
    slowing = simulate(256, 200, 40, 40, 5, 5_000)
    assert slowing[4] == 256
    assert slowing[-1] * 5_000 <= 1.5 * TARGET
    recovering = simulate(256, 200, 5_000, 40, 20, 40)
    assert recovering[19] * 5_000 <= 1.5 * TARGET
    assert recovering[-1] == 256


def test_server_that_asks_for_time_gets_it(simulate: Simulate) -> None:
    assert simulate(256, 5_500, 0, 3)[-1] == MIN_LIMIT
    assert simulate(256, 5_500, 40, 3, 99, 40, 4)[-1] == MIN_LIMIT


def test_few_entries_that_are_busy_do_not_make_the_server_a_busy_one(simulate: Simulate) -> None:
    assert simulate(256, 5_500, 40, 3, 99, 40, 20) == [256] * 3


def test_one_in_flight_stays_one(simulate: Simulate) -> None:
    assert set(simulate(1, 200, 5_000, 5)) == {1}
