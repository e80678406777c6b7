"""`mapfiles` gives the files that the real v0.4 gives, and changes none where v0.4 fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import golden
from tests.support.golden import Case, Extracted, Share
from tests.support.inprocess import Program
from tests.support.map_runs import FINE, arguments, check_summary, results
from tests.support.map_shares import (
    PREFIX,
    Snapshot,
    contents,
    is_pithos,
    pithos_place,
    put,
    read_volume,
    sha256_place,
    snapshot,
    v03_place,
)
from tests.support.program import attrs

pytestmark = [pytest.mark.privileged, pytest.mark.slow]  # slow: by their number
# Cases that lie together in one share.
TOGETHER = {
    "without lock directory": [case for case in golden.cases() if not case.lock_dir],
    "with lock directory": [case for case in golden.cases() if case.lock_dir],
}


def chosen(found: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", list(found), ids=lambda case: case.name)


@pytest.fixture
def extracted(case: Case, tmp_path: Path) -> Extracted:
    return golden.extract([case], tmp_path)[case.name]


def words(case: Case, share: Share) -> list[object]:
    locks = share.locks if case.lock_dir else None
    sizes = None if case.v0_size is None else {case.volume: case.v0_size}
    return [*arguments(share.maps, locks=locks, sizes=sizes), *(["--check"] if case.check else [])]


def kept(share: Share) -> Snapshot:
    found = snapshot(share.maps)
    locks = {f"locks/{path}": file for path, file in snapshot(share.locks).items()}
    return {**found, **locks}


def inodes(found: Snapshot, volume: str) -> set[int]:
    return {file.inode for path, file in found.items() if Path(path).name == volume}


def without_inodes(found: Snapshot) -> dict[str, tuple[bytes, int, int, int]]:
    """Return what an undo must put back: all but the inodes of files that were removed."""
    return {path: (file.content, file.mode, file.uid, file.gid) for path, file in found.items()}


@chosen(golden.cases())
def test_share_becomes_what_v04_makes_of_it(
    program: Program, case: Case, extracted: Extracted
) -> None:
    share = extracted.before
    before = kept(share)
    ended = program(*words(case, share))
    check_summary(ended)
    assert (results(ended), ended.status) == ({case.volume: case.result}, case.exit)
    now = kept(share)
    if case.expect == "same":
        assert contents(now) == contents(kept(extracted.after))
    else:
        assert now == before
    if case.in_place:
        assert inodes(now, case.volume) == inodes(before, case.volume)

    again = program(*words(case, share))
    after = {"upgraded": "current"}.get(case.result, case.result)
    assert (results(again), again.status) == ({case.volume: after}, case.exit)
    assert kept(share) == now


@chosen(golden.cases())
@pytest.mark.parametrize("option", ["-n", "--survey"])
def test_dry_run_says_the_same_and_changes_nothing(
    program: Program, case: Case, extracted: Extracted, option: str
) -> None:
    share = extracted.before
    before, entries = kept(share), attrs(share.maps)
    ended = program(*words(case, share), option)
    check_summary(ended)
    expected = {"upgraded": "would-upgrade"}.get(case.result, case.result)
    assert results(ended) == {case.volume: expected}
    assert ended.status == (0 if expected in FINE else 3)
    assert kept(share) == before
    assert attrs(share.maps) == entries  # directories, too


@chosen(case for case in golden.cases() if case.result == "upgraded")
def test_undo_puts_back_every_byte(program: Program, case: Case, extracted: Extracted) -> None:
    share = extracted.before
    before = kept(share)
    assert program(*words(case, share)).status == 0
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["status"]) == (0, "done"), ended.out
    now = kept(share)
    assert without_inodes(now) == without_inodes(before)
    if case.in_place:
        assert inodes(now, case.volume) == inodes(before, case.volume)
    # A volume that was put back can be upgraded again.
    assert results(program(*words(case, share))) == {case.volume: "upgraded"}
    assert contents(kept(share)) == contents(kept(extracted.after))


# -- all cases in one share, each with a volume of its own


def renamed(case: Case, number: int) -> str:
    """Return a name of the same kind and length that no other case has."""
    if is_pithos(case.volume):
        return hashlib.sha256(case.name.encode()).hexdigest()
    return str(number).zfill(len(case.volume))


def moved(path: str, old: str, new: str) -> str:
    """Return where the file of a volume is if the volume has another name."""
    name = Path(path).name
    other = name.replace(old, new)
    if path == f"locks/{name}":
        return f"locks/{other}"
    for place in (sha256_place, pithos_place, v03_place):
        if Path(path).parent == place(name):
            return str(place(other) / other)
    raise AssertionError(path)


def together(cases: list[Case], into: Path) -> tuple[Share, dict[str, Case], dict[str, object]]:
    """Make a share of all cases; return it, its volumes, and the files it must have at the end."""
    extracted = golden.extract(cases, into / "golden")
    share = Share(into / "maps", into / "locks")
    share.maps.mkdir()
    share.locks.mkdir()
    volumes: dict[str, Case] = {}
    due: dict[str, object] = {}
    for number, case in enumerate(cases):
        new = renamed(case, number)
        volumes[new] = case
        places = extracted[case.name]
        before = contents(kept(places.before))
        for path, (content, mode) in before.items():
            at = Path(moved(path, case.volume, new))
            directory = share.locks if at.parts[0] == "locks" else share.maps
            place = Path() if at.parts[0] == "locks" else at.parent
            put(directory, at.name, content, place=place, mode=mode)
        after = contents(kept(places.after)) if case.expect == "same" else before
        due.update({moved(path, case.volume, new): file for path, file in after.items()})
    return share, volumes, due


@pytest.mark.parametrize("jobs", [1, 8])
@pytest.mark.parametrize("cases", TOGETHER.values(), ids=TOGETHER)
def test_cases_together_in_one_share_are_as_each_alone(
    program: Program, cases: list[Case], tmp_path: Path, jobs: int
) -> None:
    share, volumes, due = together(cases, tmp_path)
    sizes = {name: case.v0_size for name, case in volumes.items() if case.v0_size is not None}
    locks = share.locks if cases[0].lock_dir else None
    run = [*arguments(share.maps, locks=locks, sizes=sizes), "--check", "--jobs", jobs]
    before = kept(share)
    ended = program(*run)
    check_summary(ended)
    assert ended.status == 3
    assert results(ended) == {name: case.result for name, case in volumes.items()}
    assert contents(kept(share)) == due
    for name, case in volumes.items():
        if case.result == "upgraded":
            assert read_volume(share.maps, name).name == name
            assert not inodes(kept(share), PREFIX + name)
    assert program("undo", "--json").status == 0
    assert without_inodes(kept(share)) == without_inodes(before)


def test_renamed_cases_hold_the_files_of_all(tmp_path: Path) -> None:
    cases = [case for case in golden.cases() if not case.lock_dir]
    share, volumes, due = together(cases, tmp_path)
    assert len(volumes) == len(cases) > 40
    assert len(kept(share)) > len(cases)
    for name, case in volumes.items():
        if case.result == "upgraded":
            found = read_volume(share.maps, name, size=case.v0_size, v03=case.kind == "p")
            assert os.path.join(sha256_place(name), name) in due or is_pithos(name)
            assert found.version < 2 or found.name == PREFIX + name
