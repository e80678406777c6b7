"""Which run is meant: the latest that fits, or the one that is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archipmigrate.errors import UsageError
from archipmigrate.journal.runs import new_run
from archipmigrate.model import Tally
from archipmigrate.session.find import named_run, resumable_run, undoable_run
from archipmigrate.share import open_share

Make = Callable[..., str]


@pytest.fixture
def make(share: Path, state: Path) -> Make:
    """Make a run with the status that is given, each later than the last; return its name."""
    begun = datetime(2026, 1, 1, tzinfo=UTC)

    def make(
        status: str, *, undoes: str = "", changed: bool = True, failed: int = 0, **more: str
    ) -> str:
        nonlocal begun
        begun += timedelta(seconds=1)
        opened = open_share(str(share))
        journal = new_run(
            state, "undo" if undoes else "perms", opened, {"of": undoes} if undoes else {}
        )
        opened.close()
        header = journal.read_header()
        header.status, header.created = status, begun.isoformat()
        for name, value in more.items():
            setattr(header, name, value)
        journal.commit([lambda j: j.write_header(header)])
        if changed:
            journal.commit([lambda j: j.add_batch(1, b"")])
        journal.commit([lambda j: j.add_tally(0, Tally(failed=failed))])
        journal.close()
        return header.run

    return make


def test_named_run_is_found_whatever_it_is(make: Make, state: Path) -> None:
    run = make("done")
    undo = make("done", undoes=run)
    assert named_run(state, run).run == run
    assert named_run(state, undo).run == undo
    with pytest.raises(UsageError, match=rf"no run 'other' in .*there: {run}, {undo}"):
        named_run(state, "other")


def test_run_that_is_named_where_there_is_none(state: Path) -> None:
    with pytest.raises(UsageError, match=r"no run 'other' in .*it has none"):
        named_run(state, "other")


# -- to resume


@pytest.mark.parametrize("status", ["running", "interrupted", "stopped"])
def test_latest_unfinished_run_is_resumed(make: Make, state: Path, status: str) -> None:
    make(status)
    run = make(status)
    make("done")
    make("failures")
    assert resumable_run(state).run == run


def test_unfinished_undo_is_resumed(make: Make, state: Path) -> None:
    run = make("done")
    undo = make("interrupted", undoes=run)
    assert resumable_run(state).run == undo


def test_run_that_was_undone_or_superseded_is_not_resumed(make: Make, state: Path) -> None:
    make("interrupted", undone="undo-1-2")
    make("interrupted", superseded="perms-1-2")
    with pytest.raises(UsageError, match="nothing to resume in"):
        resumable_run(state)


def test_run_with_failures_is_resumed_only_if_they_are_to_be_tried_again(
    make: Make, state: Path
) -> None:
    run = make("failures")
    make("failures", undone="undo-1-2")
    with pytest.raises(UsageError, match="nothing to resume in"):
        resumable_run(state)
    assert resumable_run(state, failed=True).run == run


# -- to undo


def test_latest_run_that_changed_something_is_undone(make: Make, state: Path) -> None:
    make("done")
    run = make("interrupted")
    make("done", changed=False)
    assert undoable_run(state).run == run


def test_run_that_changed_nothing_is_undone_if_there_is_no_other(make: Make, state: Path) -> None:
    make("done", changed=False)
    run = make("done", changed=False)
    assert undoable_run(state).run == run


def test_undone_run_is_not_undone_again_unless_that_failed_in_part(make: Make, state: Path) -> None:
    run = make("done")
    undo = make("done", undoes=run)
    named = make("done", undone=undo)
    earlier = make("done", changed=True)
    make("done", undone="undo-forgotten")
    assert undoable_run(state).run == earlier
    failed = make("failures", undoes=named, failed=1)
    run = make("done", undone=failed)
    assert undoable_run(state).run == run


def test_run_whose_undo_was_cut_off_is_undone(make: Make, state: Path) -> None:
    make("done")
    run = make("done")
    make("interrupted", undoes=run)
    assert undoable_run(state).run == run


def test_undo_is_not_undone(make: Make, state: Path) -> None:
    run = make("done")
    undo = make("done", undoes=run)
    with pytest.raises(UsageError, match=f"no run '{undo}' in"):
        undoable_run(state, undo)


def test_nothing_to_undo(state: Path) -> None:
    with pytest.raises(UsageError, match="nothing to undo in"):
        undoable_run(state)
