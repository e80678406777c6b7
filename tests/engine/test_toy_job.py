"""A new job takes four methods: a unit is some numbers, and a file is written for each of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from archipmigrate.engine.job import Job, Lanes, Result, UnitResult
from archipmigrate.engine.loop import run_loop
from archipmigrate.engine.session import Session
from archipmigrate.journal import counting
from archipmigrate.journal.runs import new_run, open_run
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import Limits, Scan, StopFlag, Tally, Unit
from archipmigrate.share import open_share
from tests.support.doubles import Watch

NUMBERS, IN_A_UNIT = 100, 10


@dataclass
class Numbers(Job[Scan]):
    """The job. The pre-image is the numbers whose files are missing, four bytes each."""

    directory: Path
    before_write: Callable[[int], object] = lambda number: None
    dry_run: bool = False

    def first_units(self) -> Iterable[Unit]:
        for first in range(0, NUMBERS, IN_A_UNIT):
            yield Unit(pack(range(first, first + IN_A_UNIT)), IN_A_UNIT)

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        numbers = list(unpack(unit.body))
        missing = [number for number in numbers if not self._path(number).exists()]
        tally = Tally(len(numbers), files=len(numbers), compliant=len(numbers) - len(missing))
        return Scan(tally, pack(missing), len(missing))

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        for number in unpack(scan.preimage):
            self.before_write(number)
            self._path(number).touch(exist_ok=False)
        return UnitResult(b"", Tally(changed=scan.count), attempted=scan.count)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        made = sum(self._path(number).exists() for number in unpack(preimage))
        return UnitResult(b"", counting.settled(made))

    def _path(self, number: int) -> Path:
        return self.directory / str(number)


def pack(numbers: Iterable[int]) -> bytes:
    return b"".join(struct.pack("<I", number) for number in numbers)


def unpack(packed: bytes) -> Iterator[int]:
    return (number for (number,) in struct.iter_unpack("<I", packed))


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill_at(wanted: int) -> Callable[[int], object]:
    def kill(number: int) -> None:
        if number == wanted:
            raise Killed

    return kill


def run(job: Numbers, journal: Journal) -> tuple[Result, Tally]:
    session = Session(job, journal, journal.read_header(), Lanes(1, 0.1), Watch())
    return run_loop(session.execute), session.counters.tally


def written(directory: Path) -> set[int]:
    return {int(path.name) for path in directory.iterdir()}


@pytest.fixture
def made(share: Path, state: Path) -> str:
    """A run that no session has worked on."""
    opened = open_share(str(share))
    with closing(new_run(state, "numbers", opened, {})) as journal:
        opened.close()
        return journal.read_header().run


def test_toy_job_is_done_in_one_session(share: Path, state: Path, made: str) -> None:
    with closing(open_run(state, made)) as journal:
        assert run(Numbers(share), journal) == (
            Result("done"),
            Tally(NUMBERS, files=NUMBERS, changed=NUMBERS),
        )
    assert written(share) == set(range(NUMBERS))


def test_toy_job_that_only_looks_counts_and_writes_nothing(share: Path) -> None:
    with closing(Journal(None, new=True)) as journal:
        header = RunHeader("", "numbers", "", "", "")
        session = Session(Numbers(share, dry_run=True), journal, header, Lanes(1, 0.1), Watch())
        assert run_loop(session.execute) == Result("done")
        assert session.counters.tally == Tally(NUMBERS, files=NUMBERS, changed=NUMBERS)
        assert not list(journal.batches())
    assert not written(share)


@pytest.mark.parametrize("number", [0, 55, NUMBERS - 1])
def test_toy_job_killed_while_it_applies_is_resumed_and_counts_each_number_once(
    share: Path, state: Path, made: str, number: int
) -> None:
    with closing(open_run(state, made)) as journal, pytest.raises(Killed):
        run(Numbers(share, kill_at(number)), journal)
    assert len(written(share)) < NUMBERS
    with closing(open_run(state, made)) as journal:
        assert journal.unsettled()
        assert run(Numbers(share), journal) == (
            Result("done"),
            Tally(NUMBERS, files=NUMBERS, changed=NUMBERS),
        )
        assert not journal.unsettled()
    assert written(share) == set(range(NUMBERS))
