"""One bit of a journal is another one: it is said which journal, by every command, and no more.

Never a traceback, never another share's affair, and never "done" where a directory was lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from archipmigrate.packed.groups import walk_unit, whole
from tests.support.inprocess import Program
from tests.support.journals import database, flip_bit, interrupt, journal_of
from tests.support.program import GID, Ended, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough: journals are the same with all."""
    return codec


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another share, with which nothing is wrong."""
    path = tmp_path / "other"
    path.mkdir(mode=0o700)
    (path / "file").touch(mode=0o600)
    return path


@pytest.fixture
def cut(program: Program, share: Path) -> Path:
    """The journal of a run that was interrupted when a directory, d7, was left."""
    for number in range(7):
        (share / f"d{number}").mkdir(mode=0o700)
    made(program.perms(share).status == 0, "a run")
    (share / "d7").mkdir(mode=0o700)
    (share / "d7" / "file").touch(mode=0o600)
    path = journal_of(program.state)
    interrupt(path, walk_unit([whole(b"d7")]))
    return path


def run(program: Program, *arguments: object) -> Ended:
    """Run a command; a traceback is a status that none has."""
    try:
        return program(*arguments)
    except Exception as error:  # noqa: BLE001 -- that there is none is what is tested
        return Ended(-1, "", f"{type(error).__name__}: {error}")


def names(ended: Ended, journal: Path) -> bool:
    """Say whether a command ended with an answer that names a journal."""
    return ended.status >= 0 and journal.stem in ended.out + ended.err


def test_run_that_is_whole_goes_on(program: Program, share: Path, cut: Path) -> None:
    """The control of what follows."""
    made(drift(share) == [b"d7", b"d7/file"], "two entries that are left")
    ended = program("resume")
    assert (ended.status, drift(share)) == (0, [])
    assert names(ended, cut)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the frontier has no checksums")
@pytest.mark.parametrize("at", [0.1, 0.9])
def test_frontier_with_a_bit_flipped_is_not_gone_on_with(
    program: Program, share: Path, cut: Path, at: float
) -> None:
    flip_bit(cut, "frontier", "body", at)
    before = attrs(share)
    ended = run(program, "resume")
    assert ended.status == 1
    assert names(ended, cut)
    assert "damaged" in ended.err
    assert attrs(share) == before


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="only batches have checksums")
@pytest.mark.parametrize(
    ("table", "column"),
    [("header", "content"), ("scope", "tally"), ("frontier", "entries"), ("frontier", "counted")],
)
def test_run_with_a_damaged_record_is_not_gone_on_with(
    program: Program, share: Path, cut: Path, table: str, column: str
) -> None:
    if table == "frontier":
        with database(cut) as opened:
            opened.execute(f"UPDATE frontier SET {column} = {column} + 1")
    else:
        flip_bit(cut, table, column)
    before = attrs(share)
    ended = run(program, "resume", cut.stem)
    assert ended.status == 1
    assert "damaged" in ended.err
    assert attrs(share) == before


def damage(path: Path, how: str) -> None:
    """Make a journal one that cannot be read."""
    if how == "first page":
        content = bytearray(path.read_bytes())
        content[:8] = b"XXXXXXXX"
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "newer":
        with database(path) as opened:
            opened.execute("UPDATE header SET format = 99")
    else:
        table, _, column = how.partition(".")
        flip_bit(path, table, column, at=0.0)


HOW = ["first page", "empty", "newer", "header.content", "scope.tally"]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="left out, or a traceback")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("command", ["status", "undo", "resume", "perms"])
def test_journal_that_cannot_be_read_is_named_by_every_command(
    program: Program, share: Path, cut: Path, command: str, how: str
) -> None:
    damage(cut, how)
    more = ("--group", GID, share) if command == "perms" else ()
    assert names(run(program, command, *more), cut)


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="left out, or a traceback")
@pytest.mark.parametrize("how", HOW)
def test_share_of_a_journal_that_cannot_be_read_is_not_run_over_anew(
    program: Program, share: Path, cut: Path, how: str
) -> None:
    """Its pre-images are in that journal: another run would take what it made for what was."""
    damage(cut, how)
    before = attrs(share)
    ended = run(program, "perms", "--group", GID, share)
    assert (ended.status, attrs(share)) == (1, before)


@pytest.mark.parametrize("how", HOW)
def test_other_shares_are_run_over_beside_a_journal_that_cannot_be_read(
    request: pytest.FixtureRequest, program: Program, cut: Path, other: Path, how: str
) -> None:
    if how in ("header.content", "scope.tally"):
        reason = "a traceback"
        request.applymarker(pytest.mark.xfail(strict=True, raises=AssertionError, reason=reason))
    damage(cut, how)
    before = attrs(other)
    assert run(program, "perms", "--group", GID, other).status == 0
    assert drift(other) == []
    run_of_other = max(program.state.glob("perms-*.journal"), key=lambda p: p.stat().st_ctime_ns)
    made(run_of_other != cut, "a journal of the other share")
    assert run(program, "undo", run_of_other.stem).status == 0
    assert attrs(other) == before


# -- journals that are not where they were


@pytest.fixture
def two(program: Program, share: Path, other: Path) -> tuple[Path, Path]:
    """The journals of two shares that look alike."""
    (share / "file").touch(mode=0o600)
    found: list[Path] = []
    for place in (share, other):
        made(program.perms(place).status == 0, "a run")
        found += sorted(set(program.state.glob("perms-*.journal")) - set(found))
    return found[0], found[1]


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="looks for what the header says")
@pytest.mark.parametrize("command", ["status", "undo", "perms"])
def test_renamed_journal_is_named_and_ends_no_command_of_others(
    program: Program, other: Path, two: tuple[Path, Path], command: str
) -> None:
    renamed = two[0].with_name("old.journal")
    two[0].rename(renamed)
    more = {"perms": ("--group", GID, other), "undo": (two[1].stem,)}.get(command, ())
    ended = run(program, command, *more)
    assert ended.status == 0
    assert "old" in ended.out + ended.err


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="is another run of the same name")
def test_copy_of_a_journal_is_named_and_not_another_run(
    program: Program, two: tuple[Path, Path]
) -> None:
    shutil.copy(two[0], two[0].with_name(f"{two[0].stem}-copy.journal"))
    ended = run(program, "status", "--json")
    assert ended.status == 0
    assert [thing["run"] for thing in ended.objects].count(two[0].stem) == 1
    assert f"{two[0].stem}-copy" in ended.out + ended.err


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="the name is believed")
def test_swapped_journals_are_not_believed(
    program: Program, share: Path, other: Path, two: tuple[Path, Path]
) -> None:
    swapped = two[0].with_name("for a moment")
    two[0].rename(swapped)
    two[1].rename(two[0])
    swapped.rename(two[1])
    before = attrs(share), attrs(other)
    ended = run(program, "undo", two[0].stem)
    assert ended.status == 1
    assert names(ended, two[0])
    assert (attrs(share), attrs(other)) == before


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="a record says not what it belongs to"
)
@pytest.mark.parametrize("column", ["preimage", "outcome"])
def test_record_of_another_batch_is_not_believed(
    program: Program, share: Path, column: str
) -> None:
    for name in ("a", "b"):
        (share / name).touch(mode=0o600)
        made(program.perms(share).status in (0, 1), "a run")
        path = max(program.state.glob("perms-*.journal"), key=lambda p: p.stat().st_ctime_ns)
        interrupt(path, walk_unit([whole()]))
    with database(path) as opened:
        rows = opened.execute(f"SELECT id, {column} FROM batch ORDER BY id").fetchall()
        made(len(rows) == 2, "two batches")
        for (number, _), (_, content) in zip(rows, reversed(rows), strict=True):
            opened.execute(f"UPDATE batch SET {column} = ? WHERE id = ?", (content, number))
    before = attrs(share)
    ended = run(program, "undo")
    assert (ended.status, attrs(share)) == (1, before)
    assert "damaged" in ended.err
