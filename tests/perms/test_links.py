"""A file with several names is changed once, whatever becomes of the name that it is changed by."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.engine.job import UnitResult
from archipmigrate.packed.changes import Flag, read_changes
from archipmigrate.perms.job import PermsJob
from tests.support.inprocess import Program
from tests.support.program import attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged


@pytest.fixture
def filled(share: Path) -> Path:
    """A share of three files, each with two names in one directory and one in another."""
    for name in ("a", "b"):
        (share / name).mkdir(mode=0o700)
    for number in range(3):
        (share / "a" / f"{number}").touch(mode=0o600)
        os.link(share / "a" / f"{number}", share / "a" / f"other{number}")
        os.link(share / "a" / f"{number}", share / "b" / f"{number}")
    return share


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, filled: Path) -> list[bytes]:
    """Remove the first names by which files are to be changed, just before; return them."""
    gone: list[bytes] = []
    apply = PermsJob.apply

    def remove(job: PermsJob, scan: Any, **more: Any) -> UnitResult:
        for change in read_changes(scan.preimage) if len(gone) < 2 else ():
            if change.flags & Flag.LINKED and not change.flags & Flag.DROPPED:
                os.unlink(os.path.join(os.fsencode(filled), change.path))
                gone.append(change.path)
        return apply(job, scan, **more)

    monkeypatch.setattr(PermsJob, "apply", remove)
    return gone


@pytest.mark.parametrize("lanes", [1, 4])
def test_file_is_changed_by_another_name_if_one_goes(
    program: Program, filled: Path, removed: list[bytes], lanes: int
) -> None:
    before = attrs(filled)
    ended = program.perms(filled, "--jobs", lanes)
    made(removed, "a name that went")
    assert (ended.status, drift(filled)) == (0, [])
    summary = ended.summary
    assert (summary["entries"], summary["changed"]) == (12, 6)
    assert (summary["vanished"], summary["failed"]) == (len(removed), 0)
    assert summary["compliant"] == 12 - 6 - len(removed)
    assert program("undo").status == 0
    assert attrs(filled).items() <= before.items()
