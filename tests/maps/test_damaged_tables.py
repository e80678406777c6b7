"""A damaged row of the survey or of the volumes' results is refused, never taken for a map's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import map_shares as mapshare
from tests.support.inprocess import Program
from tests.support.journals import database, journal_of
from tests.support.map_kills import killed_before_the_second
from tests.support.map_runs import results
from tests.support.map_shares import snapshot
from tests.support.situations import made

pytestmark = pytest.mark.privileged
TABLES = ("file", "volume", "mark")
DAMAGE = {
    "file.content": "UPDATE file SET content = content || ' '",
    "file.listed": "UPDATE file SET listed = ''",
    "volume.result": "UPDATE volume SET result = 'current' WHERE result = 'pending'",
    "volume.plan": "UPDATE volume SET plan = 'in place' WHERE result = 'pending'",
    "volume.map_name": "UPDATE volume SET map_name = map_name || x'78' WHERE result = 'pending'",
    "volume.name": "UPDATE volume SET name = name || x'78' WHERE result = 'pending'",
    "mark.surveying": "UPDATE mark SET surveying = 1",
}


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough: journals are the same with all."""
    return codec


@pytest.fixture
def cut(program: Program, maps: Path) -> Path:
    """The journal of a run that was killed after one of two volumes, with a file to be listed."""
    content = mapshare.v1(mapshare.v1_entries(4))
    for volume in ("volaaa", "volbbb"):
        mapshare.put(maps, f"archip_{volume}", content)
    (maps / "stray").write_bytes(b"of nobody")
    killed_before_the_second(program, maps)
    path = journal_of(program.state, "mapfiles")
    with database(path) as opened:
        for table in TABLES:
            made(opened.execute(f"SELECT 1 FROM {table}").fetchone(), f"rows of {table}")
    return path


def alter(path: Path, statement: str) -> None:
    with database(path) as opened:
        made(opened.execute(statement).rowcount > 0, "a damaged row")


@pytest.mark.parametrize("command", ["resume", "undo"])
@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_row_is_refused_and_nothing_changed(
    program: Program, maps: Path, cut: Path, what: str, command: str
) -> None:
    alter(cut, DAMAGE[what])
    before = snapshot(maps)
    ended = program(command)
    assert ended.status == 1
    assert f"{cut}: the table {what.partition('.')[0]} is damaged" in ended.out + ended.err
    assert snapshot(maps) == before


def test_status_does_not_count_damaged_results(program: Program, cut: Path) -> None:
    alter(cut, DAMAGE["volume.result"])
    ended = program("status")
    assert cut.stem in ended.out + ended.err
    assert "damaged" in ended.out + ended.err


def test_tables_without_seals_are_used_and_get_them(
    program: Program, maps: Path, cut: Path
) -> None:
    """As a run of an earlier version left them."""
    with database(cut) as opened:
        for table in TABLES:
            opened.execute(f"ALTER TABLE {table} DROP COLUMN seal")
    assert program("status").status == 0
    ended = program("resume", "--json")
    assert (ended.status, results(ended)) == (0, dict.fromkeys(("volaaa", "volbbb"), "upgraded"))
    with database(cut) as opened:
        for table in TABLES:
            assert opened.execute(f"SELECT 1 FROM {table} WHERE seal IS NULL").fetchall() == []
    alter(cut, "UPDATE volume SET reason = 'other'")
    assert program("undo").status == 1
