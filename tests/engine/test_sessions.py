"""Sessions of a run: what one leaves in the journal is where the next begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.engine.job import Lanes
from archipmigrate.engine.loop import run_loop
from archipmigrate.engine.session import Session
from archipmigrate.journal.runs import new_run, open_run, supersede_run
from archipmigrate.model import Limits, Scan, Unit
from archipmigrate.perms.job import PermsJob
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from tests.support.doubles import Watch
from tests.support.program import GID, Cli, attrs


class Killed(BaseException):
    """Stands for SIGKILL."""


class Mortal(PermsJob):
    """A job that is killed while it takes its first look."""

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        raise Killed


def test_session_killed_in_its_first_look_leaves_all_to_the_next(
    share: Path, state: Path, backend: str
) -> None:
    (share / "directory").mkdir()
    opened = open_share(str(share))
    journal = new_run(state, "perms", opened, {})
    run = journal.read_header().run
    job = Mortal(open_backend(backend, opened, 1), GroupPolicy(GID), ScanOptions())
    with pytest.raises(Killed):
        run_loop(Session(job, journal, journal.read_header(), Lanes(1, 0.1), Watch()).execute)
    journal.close()
    journal = open_run(state, run)
    looks = PermsJob(job.backend, job.policy, job.options, dry_run=True)
    session = Session(looks, journal, journal.read_header(), Lanes(1, 0.1), Watch())
    assert run_loop(session.execute).status == "done"
    assert session.counters.tally.entries == 2
    journal.close()
    opened.close()


@pytest.mark.privileged
def test_undo_that_was_killed_while_it_took_the_place_of_a_stopped_one_goes_on(
    cli: Cli, share: Path
) -> None:
    before = attrs(share)
    run = cli.perms(share).summary["run"]
    opened = open_share(str(share))
    first, second = (new_run(cli.state, "undo", opened, {"of": run}) for _ in range(2))
    names = [journal.read_header().run for journal in (first, second)]
    header = first.read_header()
    header.status = "stopped"
    first.commit([lambda journal: journal.write_header(header)])
    first.close()
    second.close()
    target = open_run(cli.state, run)
    undone = target.read_header()
    undone.undone = names[0]
    target.commit([lambda journal: journal.write_header(undone)])
    target.close()
    supersede_run(cli.state, *names)
    ended = cli("undo", "--json")
    assert (ended.status, ended.summary["run"]) == (0, names[1]), ended.err
    assert attrs(share) == before
    opened.close()


def test_runs_of_one_second_have_names_of_their_own(
    share: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_share(str(share))
    for _ in range(2):
        tokens = iter(("0123", "4567"))
        monkeypatch.setattr("secrets.token_hex", lambda _, tokens=tokens: next(tokens))
        new_run(state, "perms", opened, {}).close()
    opened.close()
    assert len(list(state.glob("perms-*.journal"))) == 2
