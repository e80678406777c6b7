"""Directories that a scan keeps open are changed by that descriptor, and none stays open after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.backend.base import Backend, ScanOptions
from archipmigrate.backend.native import NativeBackend
from archipmigrate.backend.python.backend import PythonBackend
from archipmigrate.model import Limits, Outcome, Scan, Verb
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from tests.support.descriptors import open_now
from tests.support.program import GID, attrs, drift

pytestmark = pytest.mark.privileged

POLICY, OPTIONS = GroupPolicy(GID), ScanOptions(retain=True)
PLENTY = Limits(60, 10**9, 10**9)
WIDTH, DEPTH = 3, 4


@pytest.fixture
def tree(share: Path) -> Path:
    """A share of 121 directories with a file each."""

    def grow(directory: Path, depth: int) -> None:
        (directory / "file").write_text("")
        for number in range(WIDTH if depth else 0):
            (directory / str(number)).mkdir()
            grow(directory / str(number), depth - 1)

    grow(share, DEPTH)
    return share


@contextmanager
def opened(name: str, tree: Path, retained: int, descriptors: int = 64) -> Iterator[Backend]:
    make: Callable[..., Backend] = NativeBackend if name == "native" else PythonBackend
    root = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    backend = make(root, descriptors=descriptors, open_dirs=retained)
    os.close(root)
    try:
        yield backend
    finally:
        backend.close()


def open_files(tree: Path) -> int:
    """Count the descriptors that lie in the tree."""
    return sum(target.startswith(str(tree)) for _, target in open_now())


def look(backend: Backend) -> Scan:
    return backend.scan(walk_unit([whole()]), POLICY, OPTIONS, PLENTY)


@pytest.mark.slow
@pytest.mark.parametrize("descriptors", [4, 64])
@pytest.mark.parametrize("retained", [0, 1, 40, 1000])
def test_apply_changes_the_same_however_many_directories_stay_open(
    backend: str, tree: Path, retained: int, descriptors: int
) -> None:
    before = open_files(tree)
    with opened(backend, tree, retained, descriptors) as working:
        idle = open_files(tree)
        scan = look(working)
        assert scan.count == len(attrs(tree))
        kept = open_files(tree) - idle
        assert kept <= retained // 2  # others may want some, too
        assert (kept > 0) == (retained > 1)
        applied = working.apply(scan.preimage, Verb.FORWARD, retained=scan.retained)
        assert applied.outcomes == bytes([Outcome.CHANGED]) * scan.count
        assert not drift(tree)
        assert open_files(tree) == idle
        if scan.retained:
            scan.retained.close()
        assert open_files(tree) == idle
    assert open_files(tree) == before


def test_scan_that_is_never_applied_gives_its_descriptors_back(backend: str, tree: Path) -> None:
    with opened(backend, tree, 100) as working:
        idle = open_files(tree)
        kept = set()
        for _ in range(3):
            scan = look(working)
            assert scan.retained
            kept.add(open_files(tree) - idle)
            scan.retained.close()
            scan.retained.close()  # does no harm
            assert open_files(tree) == idle
        assert kept == {50}


def test_nothing_stays_open_where_nothing_must_change(backend: str, tree: Path) -> None:
    with opened(backend, tree, 1000) as working:
        scan = look(working)
        working.apply(scan.preimage, Verb.FORWARD, retained=scan.retained)
        idle = open_files(tree)
        again = look(working)
        assert not again.preimage
        assert open_files(tree) == idle


def move(tree: Path) -> None:
    (tree / "1").rename(tree / "moved")


def move_and_replace(tree: Path) -> None:
    move(tree)
    (tree / "1").mkdir(mode=0o700)
    (tree / "1" / "file").write_text("")


@pytest.mark.parametrize("meddle", [move, move_and_replace])
def test_directory_that_was_moved_is_changed_where_it_is_now(
    backend: str, tree: Path, meddle: Callable[[Path], None]
) -> None:
    with opened(backend, tree, 1000) as working:
        scan = look(working)
        meddle(tree)
        applied = working.apply(scan.preimage, Verb.FORWARD, retained=scan.retained)
    assert applied.outcomes == bytes([Outcome.CHANGED]) * scan.count
    new = [b"1", b"1/file"] if meddle is move_and_replace else []
    assert sorted(drift(tree)) == new  # what nobody looked at


def test_directory_that_was_removed_is_gone(backend: str, tree: Path) -> None:
    leaf = tree / "0" / "1" / "2" / "0"
    with opened(backend, tree, 1000) as working:
        scan = look(working)
        (leaf / "file").unlink()
        leaf.rmdir()
        applied = working.apply(scan.preimage, Verb.FORWARD, retained=scan.retained)
    gone = {
        c.path for c in read_changes(scan.preimage) if applied.outcomes[c.index] == Outcome.GONE
    }
    assert gone == {b"0/1/2/0", b"0/1/2/0/file"}
    assert applied.outcomes.count(Outcome.CHANGED) == scan.count - 2
    assert not drift(tree)


def test_directory_whose_mode_was_changed_since_is_left_alone(backend: str, tree: Path) -> None:
    with opened(backend, tree, 1000) as working:
        scan = look(working)
        (tree / "2").chmod(0o711)
        applied = working.apply(scan.preimage, Verb.FORWARD, retained=scan.retained)
    outcomes = {c.path: applied.outcomes[c.index] for c in read_changes(scan.preimage)}
    assert outcomes.pop(b"2") == Outcome.DIFFERENT
    assert set(outcomes.values()) == {Outcome.CHANGED}
    assert drift(tree) == [b"2"]


def test_looking_alone_keeps_nothing_open(backend: str, tree: Path) -> None:
    with opened(backend, tree, 1000) as working:
        idle = open_files(tree)
        scan = working.scan(walk_unit([whole()]), POLICY, replace(OPTIONS, retain=False), PLENTY)
        assert scan.preimage
        assert open_files(tree) == idle
