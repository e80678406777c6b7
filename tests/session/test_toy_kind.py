"""A new kind of job is a module and a line in the registry: sessions and commands do the rest."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from archipmigrate.errors import Busy, UsageError
from archipmigrate.jobs.ended import Ended
from archipmigrate.jobs.options import RunOptions
from archipmigrate.jobs.registry import KINDS, kind_named, kind_of
from archipmigrate.journal.runs import list_runs, new_run
from archipmigrate.journal.store import RunHeader
from archipmigrate.model import StopFlag, Unsettled
from archipmigrate.session.find import named_run, resumable_run, undoable_run
from archipmigrate.session.open import locked
from archipmigrate.session.work import begin, dry_run, resume, undo
from archipmigrate.share import open_share
from tests.session import toy
from tests.support.doubles import Watch
from tests.support.inprocess import Program

FILES = ("one", "two", "three")


@dataclass
class Told(Watch):
    """Keeps what users are told."""

    remarks: list[str] = field(default_factory=list)
    ends: list[Ended] = field(default_factory=list)

    def remark(self, text: str) -> None:
        self.remarks.append(text)


@dataclass
class Toy:
    """Two roots, and a state directory."""

    share: Path
    blocks: Path
    options: RunOptions
    told: Told = field(default_factory=Told)

    def texts(self) -> set[str]:
        return {path.read_text() for root in (self.share, self.blocks) for path in root.iterdir()}

    @property
    def settings(self) -> toy.ToySettings:
        return toy.ToySettings.of(self.blocks)

    def begin(self) -> Ended:
        share = open_share(str(self.share))
        tell = self.told.ends.append
        return begin(toy.KIND, self.settings, share, self.options, self.told, tell)

    def undo(self) -> Ended:
        target = undoable_run(self.options.state_path)
        ended = undo(target, self.options, self.told, self.told.ends.append)
        assert ended
        return ended


@pytest.fixture
def both(
    share: Path, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Toy]:
    monkeypatch.setitem(KINDS, toy.KIND.name, "tests.session.toy")
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    for root in (share, blocks):
        for name in FILES:
            (root / name).write_text(name)
    yield Toy(share, blocks, RunOptions(state=state))
    toy.before_writing.clear()
    toy.before_settling.clear()


def upper() -> set[str]:
    return {name.upper() for name in FILES}


def test_registry_finds_a_kind_by_its_line(both: Toy) -> None:
    assert kind_named("upper-case") is toy.KIND


def test_undo_is_of_the_kind_of_the_run_that_it_takes_back(both: Toy) -> None:
    run = both.begin().header
    undone = both.undo().header
    assert undone.job == "undo"
    assert kind_of(run) is kind_of(undone) is toy.KIND


def test_kind_that_is_not_registered_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="'copy'"):
        kind_of(RunHeader("copy-1-2", "copy", "", "", ""))


def test_dry_run_changes_nothing_and_leaves_no_run(both: Toy) -> None:
    share = open_share(str(both.share))
    tell = both.told.ends.append
    ended = dry_run(toy.KIND, both.settings, share, both.options, both.told, tell)
    assert (ended.status, ended.tally.changed, ended.dry_run) == ("done", 6, True)
    assert both.texts() == set(FILES)
    assert not list(list_runs(both.options.state_path))


def test_run_and_its_undo(both: Toy) -> None:
    ended = both.begin()
    assert (ended.status, ended.tally.changed) == ("done", 6)
    assert both.texts() == upper()
    ended = both.undo()
    assert (ended.status, ended.tally.changed) == ("done", 6)
    assert both.texts() == set(FILES)
    assert [told.header.run for told in both.told.ends] == [
        header.run for header in list_runs(both.options.state_path)
    ]


def test_interrupted_run_is_resumed(both: Toy) -> None:
    toy.before_writing.append(lambda: os.kill(os.getpid(), signal.SIGINT))
    ended = both.begin()
    assert (ended.status, ended.signal) == ("interrupted", signal.SIGINT)
    assert both.texts() - upper()
    resumed = resume(
        resumable_run(both.options.state_path), both.options, both.told, both.told.ends.append
    )
    assert resumed
    assert (resumed.status, resumed.tally.changed, resumed.header.sessions) == ("done", 6, 2)
    assert both.texts() == upper()


def test_interrupted_run_is_resumed_by_the_same_settings(both: Toy) -> None:
    toy.before_writing.append(lambda: os.kill(os.getpid(), signal.SIGINT))
    first = both.begin().header.run
    assert both.begin().header.run == first
    assert any(words.startswith(f"resuming {first} (interrupted") for words in both.told.remarks)


def test_interrupted_run_is_undone(both: Toy) -> None:
    toy.before_writing.append(lambda: os.kill(os.getpid(), signal.SIGINT))
    both.begin()
    assert both.undo().status == "done"
    assert both.texts() == set(FILES)


class Killed(BaseException):
    """Stands for SIGKILL."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("gives_up", [True, False], ids=["before", "after"])
def test_undo_interrupted_while_it_settles_is_continued(both: Toy, gives_up: bool) -> None:
    toy.before_writing.append(kill)
    with pytest.raises(Killed):
        both.begin()

    def interrupt(stop: StopFlag) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while not stop[0]:
            threading.Event().wait(0.001)
        if gives_up:
            raise Unsettled

    program = Program("auto", both.options.state_path)
    toy.before_settling.append(interrupt)
    ended = program("undo", "--json")
    assert (ended.status, "interrupted" in ended.err) == (130, True)
    run, undone = program("status", "--json").objects
    assert (run["status"], undone["status"], undone["job"]) == ("killed", "interrupted", "undo")
    assert undone["run"] in undone["resume"]
    ended = program("resume", undone["run"], "--json")
    assert (ended.status, ended.summary["run"]) == (0, undone["run"])
    assert both.texts() == set(FILES)


@pytest.mark.parametrize("root", ["share", "blocks"])
def test_second_run_over_either_root_is_refused_and_holds_nothing(both: Toy, root: str) -> None:
    settings, state = both.settings, both.options.state_path
    share = open_share(str(both.share))
    roots = {"share": {share.identity: "held"}, "blocks": {settings.identity: "held"}}
    other = ({"share", "blocks"} - {root}).pop()
    share.close()
    with locked(state, roots[root]) as held:
        held.sign("another")
        with pytest.raises(Busy, match="run another"):
            both.begin()
        with locked(state, roots[other]):
            pass
    assert not list(list_runs(state))
    assert both.begin().status == "done"


def test_roots_are_held_while_the_run_works_and_released_after(both: Toy) -> None:
    found: list[str] = []

    def try_blocks() -> None:
        try:
            with locked(both.options.state_path, {both.settings.identity: "blocks"}):
                found.append("free")
        except Busy as busy:
            found.append(busy.holder)

    toy.before_writing.append(try_blocks)
    run = both.begin().header.run
    try_blocks()
    assert found == [f"run {run}, process {os.getpid()}", "free"]


def test_header_has_roots_only_if_there_are_several(both: Toy) -> None:
    run = both.begin().header.run
    header = named_run(both.options.state_path, run)
    assert header.roots == {both.settings.identity: str(both.blocks)}
    assert both.undo().header.roots == header.roots
    share = open_share(str(both.share))
    journal = new_run(both.options.state_path, "perms", share, {})
    share.close()
    path = journal.path
    journal.close()
    assert path
    with closing(sqlite3.connect(path)) as database:
        (content,) = database.execute("SELECT content FROM header").fetchone()
    assert "roots" not in json.loads(content)


def test_commands_know_the_kind(both: Toy) -> None:
    program = Program("auto", both.options.state_path)
    toy.before_writing.append(lambda: os.kill(os.getpid(), signal.SIGINT))
    run = both.begin().header.run
    (shown,) = program("status", "--json").objects
    assert (shown["job"], shown["status"]) == ("upper-case", "interrupted")
    refused = program("forget", run)
    assert (refused.status, "files half written" in refused.err) == (2, True)
    resumed = program("resume", "--json")
    assert (resumed.status, resumed.summary["job"]) == (0, "upper-case")
    undone = program("undo")
    assert undone.status == 0
    assert "6 files of that run: 6 put back" in undone.out
    assert program("forget", run).status == 0
