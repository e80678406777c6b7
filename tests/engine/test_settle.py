"""Settling a run whose batches have no outcome, and signals in the middle of that.

The job sends the signal itself, and waits until the engine has seen it: nothing depends on time.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import pytest

from archipmigrate.engine.job import Job, UnitResult
from archipmigrate.engine.loop import run_loop
from archipmigrate.engine.settle import settle_run
from archipmigrate.errors import Interrupted
from archipmigrate.journal import checksummed, counting
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import Limits, Scan, StopFlag, Tally, Unit, Unsettled

BATCHES = [1, 2, 3]


@dataclass
class Settles(Job[Scan]):
    """Settles batches; at one of them the process gets a signal."""

    signal_at: int = 0
    number: signal.Signals = signal.SIGINT
    gives_up: bool = False
    settled: list[int] = field(default_factory=list)

    def first_units(self) -> Iterable[Unit]:
        return ()

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        raise NotImplementedError

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        raise NotImplementedError

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        if preimage == b"%d" % self.signal_at:
            os.kill(os.getpid(), self.number)
            while not stop[0]:
                threading.Event().wait(0.001)
            if self.gives_up:
                raise Unsettled
        self.settled.append(int(preimage))
        return UnitResult(b"outcome", counting.settled(1))


@pytest.fixture
def journal() -> Iterator[Journal]:
    with closing(Journal(None, new=True)) as journal:
        header = RunHeader("perms-1", "perms", "", "", "")
        journal.commit([lambda j: j.write_header(header)])
        for number in BATCHES:
            blob = checksummed.pack(b"%d" % number)
            journal.commit([partial(Journal.add_batch, number=number, preimage=blob)])
        yield journal


def test_run_is_settled_oldest_batch_first(journal: Journal) -> None:
    job = Settles()
    run_loop(settle_run, job, journal, 1)
    assert (job.settled, journal.unsettled()) == (BATCHES, [])
    assert journal.tally() == Tally(changed=3, compliant=-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("signal_at", "gives_up", "left"),
    [(1, False, [2, 3]), (2, True, [2, 3]), (3, True, [3]), (3, False, [])],
    ids=["after the first", "in the second", "in the last", "after the last"],
)
def test_signal_ends_settling_with_an_error_and_the_next_one_continues(
    journal: Journal, number: signal.Signals, signal_at: int, gives_up: bool, left: list[int]
) -> None:
    with pytest.raises(Interrupted, match="perms-1") as caught:
        run_loop(settle_run, Settles(signal_at, number, gives_up), journal, 1)
    assert caught.value.exit_status == 128 + number
    assert journal.unsettled() == left
    job = Settles()
    run_loop(settle_run, job, journal, 1)
    assert job.settled == left
    assert journal.tally() == Tally(changed=3, compliant=-3)
