"""The lane controller and the bucket, simulated; --max-ops for real."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from archipmigrate.engine.controllers import BackOff, Bucket, LaneController, Sample
from tests.support.program import GID, Cli

LATENCY_BOUND, CPU_BOUND = 0.1, 0.95
Curve = Callable[[int], float]


def simulate(
    curve: Curve, first: int, most: int, cpu: float, samples: int = 60, seed: int = 1
) -> list[int]:
    """Return the lanes, sample by sample; *curve* maps lanes to operations a second.

    As it is in life: 12% of noise, a sample in twenty halved by somebody else, one in three of a
    frontier that was empty for a moment, and a first second after each change that is still half of
    what went before.
    """
    dice = random.Random(seed)
    controller = LaneController(first, most)
    lanes, before = [], 0.0
    for _ in range(samples):
        lanes.append(controller.lanes)
        rate = curve(controller.lanes)
        mixed = rate if lanes[-2:] == [controller.lanes] * 2 else (rate + before) / 2
        mixed *= dice.gauss(1, 0.12) * (0.5 if dice.random() < 0.05 else 1)
        before = rate
        controller.observe(Sample(mixed, cpu, fed=dice.random() > 1 / 3))
    return lanes


def simulate_often(curve: Curve, first: int, most: int, cpu: float) -> tuple[float, float]:
    """Return how often ten samples find 80% of the best rate, and the share of it had on average.

    The best is that of any power of two; the average is of two minutes.
    """
    best = max(curve(1 << power) for power in range(most.bit_length()))
    runs = [simulate(curve, first, most, cpu, 120, seed) for seed in range(200)]
    found = sum(curve(lanes[10]) >= 0.8 * best for lanes in runs) / len(runs)
    return found, mean(curve(n) for lanes in runs for n in lanes[10:]) / best


def typical(lanes: list[int]) -> int:
    """Return the number of lanes that was kept most of the time after the first ten samples."""
    later = lanes[10:]
    return max(set(later), key=later.count)


def test_lanes_stay_at_the_cores_on_a_warm_local_disk() -> None:
    lanes = simulate(lambda n: 50_000.0 * min(n, 2), first=2, most=16, cpu=CPU_BOUND)
    assert typical(lanes) == 2
    assert max(lanes) == 2


def test_lanes_grow_on_a_cold_disk_until_it_is_busy() -> None:
    found, average = simulate_often(lambda n: 900.0 * min(n, 8), first=2, most=16, cpu=0.3)
    assert found > 0.95
    assert average > 0.9


@pytest.mark.parametrize("server_limit", [16, 40, 1000])
def test_lanes_reach_most_of_the_best_rate_within_ten_samples_with_latency(
    server_limit: int,
) -> None:
    found, average = simulate_often(lambda n: 50.0 * min(n, server_limit), 8, 64, LATENCY_BOUND)
    assert found > 0.95
    assert average > 0.9


def test_lanes_take_what_the_last_doubling_brings_where_the_processor_is_the_limit() -> None:
    found, average = simulate_often(lambda n: 4500.0 * n / (n + 16), 8, 64, 0.8)
    assert found > 0.95
    assert average > 0.9


def test_lanes_go_back_where_more_make_it_slower() -> None:
    _, average = simulate_often(lambda n: 1000.0 * n / (1 + (n / 8) ** 3), 8, 64, LATENCY_BOUND)
    assert average > 0.85
    assert typical(simulate(lambda n: 1000.0 * n / (1 + (n / 8) ** 3), 8, 64, 0.1)) in (4, 8)


def test_samples_without_work_decide_nothing() -> None:
    controller = LaneController(4, 64)
    for _ in range(50):
        assert controller.observe(Sample(0.0, 0.0, fed=False)) == 4


def test_bucket_keeps_the_rate_whatever_the_lanes_do() -> None:
    bucket, now, spent = Bucket(1000), 100.0, 0
    dice = random.Random(2)
    while now < 160.0:
        now += bucket.wait(now)
        operations = dice.randint(1, 100)
        now += 0.001  # the unit itself takes time, too
        bucket.spend(operations, now)
        spent += operations
    assert spent / 60 == pytest.approx(1000, rel=0.05)


def test_bucket_saves_nothing_up_while_lanes_are_idle() -> None:
    bucket = Bucket(1000)
    bucket.spend(100, 0.0)
    bucket.spend(5000, 1000.0)
    assert bucket.wait(1000.0) == pytest.approx(4.0)


def test_pause_is_doubled_once_however_many_units_fail_together() -> None:
    back_off, now, pauses = BackOff(), 0.0, []
    for _ in range(8):
        for lane in range(4):
            back_off.failed(now + lane / 1000)
        pauses.append(back_off.wait(now))
        now += pauses[-1]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_pause_is_short_again_after_a_success() -> None:
    back_off = BackOff()
    back_off.failed(0.0)
    back_off.succeeded(0.1)  # of a unit that was under way
    back_off.failed(0.5)
    assert back_off.wait(0.5) == 1.0
    back_off.succeeded(2.0)
    back_off.failed(3.0)
    assert back_off.wait(3.0) == 0.5


def test_max_ops_is_not_exceeded(cli: Cli, share: Path) -> None:
    """That it is reached, too, the tests of Bucket say: here it depends on the machine."""
    for directory in range(20):
        (share / str(directory)).mkdir()
        for name in range(149):
            (share / str(directory) / str(name)).touch()
    ended = cli("verify", "--json", "--group", GID, "--max-ops", 1000, share).summary
    assert ended["entries"] == 3001
    # The first units of all lanes come at once: a tenth.
    assert ended["entries"] / ended["seconds"] <= 1100
