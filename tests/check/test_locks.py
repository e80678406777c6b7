"""What a check says of the lock directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipmigrate.check.finding import Finding, Level
from archipmigrate.check.locks import locks
from archipmigrate.check.question import Question
from archipmigrate.check.site import Site
from archipmigrate.jobs.options import RunOptions
from tests.support.lock_shares import aged
from tests.support.map_shares import OTHER, put_lock, put_stale


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name in ("blocks", "maps", "locks"):
        (tmp_path / name).mkdir()
    return tmp_path


def found(top: Path) -> list[Finding]:
    site = Site(str(top / "blocks"), str(top / "maps"), str(top / "locks"))
    return list(locks(Question(site, options=RunOptions(state=top / "state"))))


def test_empty_lock_directory_is_as_it_should_be(top: Path) -> None:
    (top / "locks" / "notes").touch()
    (finding,) = found(top)
    assert (finding.level, finding.data) == (Level.OK, {"held": 0, "ours": 0, "free": 0})


@pytest.mark.privileged
def test_locks_are_counted_by_whether_somebody_may_hold_them(top: Path) -> None:
    maps, directory = top / "maps", top / "locks"
    put_lock(maps, directory, "foobar")
    put_lock(maps, directory, "ours", "archipmigrate_node1_mapfiles-1")
    put_stale(maps, directory, "young")
    aged(put_stale(maps, directory, "stale"))
    findings = found(top)
    assert {finding.level for finding in findings} == {Level.WARNING}
    assert findings[0].data == {"held": 2, "ours": 1, "free": 1}
    places = f"--maps {maps} --locks {directory}"
    assert f"archipmigrate locks {places}" in findings[0].todo
    assert findings[2].todo == f"archipmigrate locks {places} --clean --v03-stopped"
    assert OTHER not in findings[0].text
