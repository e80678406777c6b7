"""What may pass is tried again, after pauses: the engine over a backend that fails as told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import trio
import trio.testing

from archipmigrate.backend.base import ScanOptions
from archipmigrate.engine.job import Lanes, Result
from archipmigrate.engine.session import Session
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import (
    NEVER,
    NOTHING_KNOWN,
    RETRIES,
    Applied,
    Failure,
    Known,
    Limits,
    Outcome,
    Retained,
    Scan,
    StopFlag,
    Tally,
    Unit,
    Verb,
)
from archipmigrate.packed.changes import ChangeWriter
from archipmigrate.packed.groups import Group, Hint, unpack_groups, walk_unit
from archipmigrate.perms.job import PermsJob
from archipmigrate.policy import GroupPolicy
from tests.support.doubles import Watch
from tests.support.program import GID

Apply = Callable[[int], Applied]


@dataclass
class FakeBackend:
    """One file, `file`, that is to be changed; what becomes of that is the test's to say."""

    apply_nth: Apply
    scan_again: int = 0  # how many scans fail for a reason that may pass
    name: str = "fake"
    nfs_version: int = 0
    remark: str = ""
    scans: list[Unit] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    clock: Callable[[], float] = lambda: 0.0

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        del options, limits
        self.scans.append(unit)
        tally = Tally(0) if unit.counted else Tally(1, files=1)
        if len(self.scans) <= self.scan_again:
            return Scan(tally, again=[replace(unit, retries=unit.retries + 1, counted=True)])
        writer = ChangeWriter(policy.gid)
        writer.enter(b"", 1)
        writer.change(b"file", 0, 0o100600, 0o100660, 0, 0, 2)
        writer.leave()
        return Scan(tally, writer.finish(), 1)

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        known: Known = NOTHING_KNOWN,
        retained: Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        del changes, verb, deny_limit, known, retained, stop
        self.applied.append(self.clock())
        return self.apply_nth(len(self.applied))

    def close(self) -> None:
        pass


def run(backend: FakeBackend) -> tuple[Result, Tally, list[Failure], list[float]]:
    """Run perms over a backend; attempts and pauses go by a clock that jumps."""
    clock = trio.testing.MockClock(autojump_threshold=0.01)
    backend.clock = clock.current_time
    job = PermsJob(backend, GroupPolicy(GID), ScanOptions())
    watch = Watch()
    header = RunHeader("", "perms", "", "", "")
    with closing(Journal(None, new=True)) as journal:
        session = Session(job, journal, header, Lanes(1, 0.1), watch)
        result = trio.run(session.execute, clock=clock)
    times = backend.applied
    pauses = [after - before for before, after in pairwise(times)]
    return result, session.counters.tally, watch.failures, pauses


def failed(error: int) -> Applied:
    return Applied(bytes([Outcome.FAILED]), [(0, "chown", error, "")])


def changed() -> Applied:
    return Applied(bytes([Outcome.CHANGED]))


@pytest.mark.parametrize("error", [errno.EIO, errno.ETIMEDOUT, errno.ENOSPC, errno.EDQUOT])
def test_error_that_passes_is_tried_again_after_growing_pauses(error: int) -> None:
    backend = FakeBackend(lambda nth: failed(error) if nth <= 2 else changed())
    result, tally, failures, pauses = run(backend)
    assert (result, failures) == (Result("done"), [])
    assert tally == Tally(1, files=1, changed=1)
    assert len(pauses) == 2
    assert pauses[0] >= 0.5
    assert pauses[1] >= 1.0


def test_stale_handle_is_looked_up_again_at_once() -> None:
    backend = FakeBackend(lambda nth: failed(errno.ESTALE) if nth == 1 else changed())
    result, tally, _, pauses = run(backend)
    assert (result, tally.changed) == (Result("done"), 1)
    assert pauses[0] < 0.5


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE])
def test_error_that_does_not_pass_is_a_failure_after_three_retries(error: int) -> None:
    backend = FakeBackend(lambda nth: failed(error))
    result, tally, failures, _ = run(backend)
    assert len(backend.applied) == 1 + RETRIES
    assert result == Result("failures")
    assert tally == Tally(1, files=1, failed=1)
    assert failures == [Failure(b"file", "chown", error, "", Hint.ENTRY)]


def test_error_that_stays_is_not_tried_again() -> None:
    backend = FakeBackend(lambda nth: failed(errno.EINVAL))
    _, tally, failures, _ = run(backend)
    assert (len(backend.applied), tally.failed, failures[0].errno) == (1, 1, errno.EINVAL)


def test_entry_that_keeps_changing_is_a_failure_after_three_retries() -> None:
    backend = FakeBackend(lambda nth: Applied(bytes([Outcome.DIFFERENT])))
    result, tally, (failure,), pauses = run(backend)
    assert len(backend.applied) == 1 + RETRIES
    assert result == Result("failures")
    assert tally == Tally(1, files=1, failed=1)
    assert failure == Failure(
        b"file", "change", errno.EAGAIN, "somebody keeps changing it", Hint.ENTRY
    )
    assert max(pauses) < 0.5
    # Each retry looks at that one name again, and does not count it again.
    assert all(unit.counted for unit in backend.scans[1:])
    again = [group for unit in backend.scans[1:] for group in unpack_groups(unit.body)]
    assert again == RETRIES * [Group(b"", 1, ((Hint.ENTRY, b"file"),))]


def test_entry_that_is_gone_is_no_failure() -> None:
    result, tally, failures, _ = run(FakeBackend(lambda nth: Applied(bytes([Outcome.GONE]))))
    assert (result, failures) == (Result("done"), [])
    assert tally == Tally(1, files=1, vanished=1)


def test_look_that_fails_for_a_while_pauses_the_run() -> None:
    backend = FakeBackend(lambda nth: changed(), scan_again=2)
    result, tally, failures, _ = run(backend)
    assert (result, failures) == (Result("done"), [])
    assert tally == Tally(1, files=1, changed=1)
    assert [unit.retries for unit in backend.scans] == [0, 1, 2]
    assert backend.applied[0] >= 1.5


def test_look_only_pauses_too() -> None:
    clock = trio.testing.MockClock(autojump_threshold=0.01)
    backend = FakeBackend(lambda nth: changed(), scan_again=2)
    job = PermsJob(backend, GroupPolicy(GID), ScanOptions(), dry_run=True)
    header = RunHeader("", "verify", "", "", "")
    with closing(Journal(None, new=True)) as journal:
        session = Session(job, journal, header, Lanes(1, 0.1), Watch())
        assert trio.run(session.execute, clock=clock) == Result("done")
    assert clock.current_time() >= 1.5
    assert not backend.applied


def test_untried_changes_are_looked_at_again_without_being_counted_twice() -> None:
    backend = FakeBackend(lambda nth: Applied(bytes([Outcome.UNTRIED])) if nth == 1 else changed())
    result, tally, _, _ = run(backend)
    assert (result, tally) == (Result("done"), Tally(1, files=1, changed=1))
    assert backend.scans[1] == replace(
        walk_unit([Group(b"", 1, ((Hint.ENTRY, b"file"),))], counted=True), retries=0
    )
