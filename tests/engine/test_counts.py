"""Counts are never below zero, and they add up, however often a run was cut off."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.engine.job import UnitResult
from archipmigrate.journal import counting
from archipmigrate.model import StopFlag, Tally
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.perms.job import PermsJob
from tests.support.inprocess import Program
from tests.support.journals import database, interrupt, journal_of, reopened
from tests.support.program import GID, Ended
from tests.support.situations import made

pytestmark = pytest.mark.privileged

FILES = 30
ENDS = ("changed", "compliant", "skipped", "failed", "others")


@pytest.fixture
def killed(program: Program, share: Path) -> Path:
    """The journal of a run that was killed when all was changed and nothing was noted of it."""
    for number in range(FILES):
        (share / f"f{number:02}").touch(mode=0o600)
    made(program.perms(share).summary["changed"] == FILES + 1, "a run that changed all")
    path = journal_of(program.state)
    interrupt(path, walk_unit([whole()]))
    with database(path) as opened:
        opened.execute("UPDATE batch SET outcome = NULL")
    with reopened(path) as journal:
        before = journal.tally()
        undone = Tally(**{name: -count for name, count in before.as_dict().items()})
        journal.commit([lambda j: j.add_tally(0, undone)])
    return path


def counts(ended: Ended) -> dict[str, int]:
    return {name: ended.summary[name] for name in Tally().as_dict()}


def after_settling(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something done between the settling of what a kill left and the next look."""
    settle = PermsJob.settle

    def settle_and_act(job: PermsJob, preimage: bytes, stop: StopFlag) -> UnitResult:
        result = settle(job, preimage, stop)
        act()
        return result

    monkeypatch.setattr(PermsJob, "settle", settle_and_act)


@pytest.mark.parametrize(
    ("counted", "shown"),
    [
        (Tally(5, files=5, changed=2, compliant=3), Tally(5, files=5, changed=2, compliant=3)),
        (Tally(changed=2, compliant=-2), Tally(2, files=2, changed=2)),  # settled
        (  # a wide directory is to be read again: 3 changes in it were forgotten, and its own
            Tally(1, directories=1, changed=4, compliant=-4),
            Tally(4, directories=1, files=3, changed=4),
        ),
        (  # 5 wait for a retry
            Tally(9, directories=1, files=7, others=1, changed=3, compliant=-1),
            Tally(9, directories=1, files=7, others=1, changed=3),
        ),
    ],
    ids=["in order", "settled", "to be read again", "waiting"],
)
def test_counts_that_are_shown_are_not_below_zero(counted: Tally, shown: Tally) -> None:
    assert counting.shown(counted) == shown


def test_counts_of_a_killed_run_are_those_of_one_that_was_not(
    program: Program, share: Path, killed: Path
) -> None:
    """The control: nothing happens in between."""
    found = counts(program("resume", "--json"))
    assert found["entries"] == found["changed"] == FILES + 1
    assert sum(found[name] for name in ENDS) == found["entries"]


def test_counts_stay_above_zero_where_what_was_changed_goes_before_the_next_look(
    program: Program, share: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove() -> None:
        for path in share.iterdir():
            path.unlink()

    after_settling(monkeypatch, remove)
    found = counts(program("resume", "--json"))
    made(not list(share.iterdir()), "files that went")
    assert min(found.values()) >= 0
    assert sum(found[name] for name in ENDS) == found["entries"]


def test_counts_stay_above_zero_where_a_run_is_interrupted_before_the_next_look(
    program: Program, share: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_settling(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = program("resume", "--json")
    made(ended.summary["status"] == "interrupted", "a session that was interrupted")
    assert min(counts(ended).values()) >= 0
    shown = program("status", "--json").objects[0]
    assert min(shown[name] for name in Tally().as_dict()) >= 0
    monkeypatch.undo()
    found = counts(Program(program.backend, program.state)("resume", "--json"))
    assert found["entries"] == found["changed"] == FILES + 1
    assert min(found.values()) >= 0
    made(share.stat().st_gid == GID, "a share of the group")
