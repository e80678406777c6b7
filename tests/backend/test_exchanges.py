"""Entries that vanish, move or are exchanged between the look and the change are left alone."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from archipmigrate.backend.base import Backend, ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.engine.job import Lanes, Result
from archipmigrate.engine.session import Session
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import RETRIES, Limits, Outcome, Tally, Verb
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import Group, Hint, walk_unit, whole
from archipmigrate.perms.job import PermsJob
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from tests.support.doubles import Meddler, Watch
from tests.support.program import GID, attrs, drift

pytestmark = pytest.mark.privileged

POLICY, OPTIONS = GroupPolicy(GID), ScanOptions()
PLENTY = Limits(60, 10**9, 10**9)
ALL = {b"", b"dir", b"dir/a", b"dir/b", b"dir/sub", b"dir/sub/c", b"other", b"other/a", b"file"}


@pytest.fixture
def tree(share: Path, tmp_path: Path) -> Path:
    """A share of nine entries, and beside it a directory of the same names, not to be changed."""
    for top in (share, tmp_path / "outside"):
        (top / "dir" / "sub").mkdir(parents=True)
        (top / "other").mkdir()
        for name in ("dir/a", "dir/b", "dir/sub/c", "other/a", "file"):
            (top / name).write_text("")
    assert attrs(share).keys() == ALL
    return share


@pytest.fixture
def opened(backend: str, tree: Path) -> Iterator[Backend]:
    """The backend, on the share."""
    place = open_share(str(tree))
    made = open_backend(backend, place, 1)
    yield made
    made.close()
    place.close()


def exchange(one: Path, other: Path) -> None:
    """Give two entries each other's names at once (RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2):
        raise OSError(ctypes.get_errno(), "renameat2")


def replace_by_link(path: Path, target: Path) -> None:
    path.rename(path.with_name(path.name + "-before"))
    path.symlink_to(target)


def rewritten(path: Path) -> None:
    """Replace a file by another one of its name, as editors do."""
    path.with_name("new").write_text("")
    path.with_name("new").replace(path)


def emptied(path: Path) -> None:
    for inside in sorted(path.rglob("*"), reverse=True):
        inside.rmdir() if inside.is_dir() else inside.unlink()
    path.rmdir()


def becomes_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def becomes_file(path: Path) -> None:
    emptied(path)
    path.write_text("")


def done(path: Path) -> None:
    os.chown(path, -1, GID)
    path.chmod(0o664)


GONE, DIFFERENT = Outcome.GONE, Outcome.DIFFERENT
Meddle = Callable[[Path, Path], object]
below_dir = (b"dir", b"dir/a", b"dir/b", b"dir/sub", b"dir/sub/c")
# What somebody does to the share (and where links lead), and what apply then says of which entries.
MEDDLING: dict[str, tuple[Meddle, dict[bytes, Outcome]]] = {
    "file-removed": (lambda s, _: (s / "file").unlink(), {b"file": GONE}),
    "directory-removed": (lambda s, _: emptied(s / "dir"), dict.fromkeys(below_dir, GONE)),
    "file-moved": (lambda s, _: (s / "dir/a").rename(s / "moved"), {b"dir/a": GONE}),
    "directory-moved": (
        lambda s, _: (s / "dir").rename(s / "moved"),
        dict.fromkeys(below_dir, GONE),
    ),
    "file-rewritten": (lambda s, _: rewritten(s / "file"), {b"file": DIFFERENT}),
    "file-now-link": (
        lambda s, out: replace_by_link(s / "file", out / "file"),
        {b"file": DIFFERENT},
    ),
    "file-now-directory": (lambda s, _: becomes_directory(s / "file"), {b"file": DIFFERENT}),
    "directory-now-link": (
        lambda s, out: replace_by_link(s / "dir", out / "dir"),
        dict.fromkeys(below_dir, GONE),
    ),
    "directory-now-file": (
        lambda s, _: becomes_file(s / "dir"),
        dict.fromkeys(below_dir, GONE),
    ),
    "files-exchanged": (
        lambda s, _: exchange(s / "dir/a", s / "dir/b"),
        dict.fromkeys((b"dir/a", b"dir/b"), DIFFERENT),
    ),
    "directories-exchanged": (
        lambda s, _: exchange(s / "dir", s / "other"),
        dict.fromkeys((*below_dir, b"other", b"other/a"), DIFFERENT),
    ),
    "exchanged-with-outside": (
        lambda s, out: exchange(s / "dir", out / "dir"),
        dict.fromkeys(below_dir, DIFFERENT),
    ),
    "mode-changed": (lambda s, _: (s / "file").chmod(0o600), {b"file": DIFFERENT}),
    "owner-changed": (lambda s, _: os.chown(s / "dir/a", 77, -1), {b"dir/a": DIFFERENT}),
    "group-changed": (lambda s, _: os.chown(s / "dir/sub", -1, 77), {b"dir/sub": DIFFERENT}),
    "done-by-others": (lambda s, _: done(s / "file"), {b"file": DIFFERENT}),
    "only-written": (lambda s, _: (s / "file").write_text("more"), {}),
}


# What came to a new name, or is of another kind now, when the run was past it: `verify` finds it.
MISSED = {
    "file-moved": {b"moved"},
    "directory-moved": {b"moved"},
    "file-now-link": {b"file-before"},
    "directory-now-link": {b"dir-before"},
    "directory-now-file": {b"dir"},
}


@pytest.mark.parametrize("what", MEDDLING)
def test_apply_changes_nothing_but_what_was_looked_at(
    opened: Backend, tree: Path, tmp_path: Path, what: str
) -> None:
    meddle, unlike = MEDDLING[what]
    outside = tmp_path / "outside"
    scan = opened.scan(walk_unit([whole()]), POLICY, OPTIONS, PLENTY)
    assert scan.count == len(ALL)
    meddle(tree, outside)
    before, beyond = attrs(tree), attrs(outside)
    applied = opened.apply(scan.preimage, Verb.FORWARD)
    outcomes = {c.path: applied.outcomes[c.index] for c in read_changes(scan.preimage)}
    assert outcomes == dict.fromkeys(ALL, Outcome.CHANGED) | unlike
    assert not applied.failures
    after = attrs(tree)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == ALL - unlike.keys()
    assert attrs(outside) == beyond


def run(meddler: Meddler) -> tuple[Result, Tally, Watch]:
    watch = Watch()
    header = RunHeader("", "perms", "", "", "")
    job = PermsJob(meddler, POLICY, OPTIONS)
    with closing(Journal(None, new=True)) as journal:
        session = Session(job, journal, header, Lanes(1, 10.0), watch)
        return trio.run(session.execute), session.counters.tally, watch


@pytest.mark.parametrize("what", MEDDLING)
def test_run_looks_again_at_what_was_exchanged(
    opened: Backend, tree: Path, tmp_path: Path, what: str
) -> None:
    meddle, unlike = MEDDLING[what]
    outside = tmp_path / "outside"
    before = attrs(outside)
    meddler = Meddler(opened, lambda times: meddle(tree, outside) if times == 1 else None)
    result, tally, watch = run(meddler)
    assert (result, watch.failures) == (Result("done"), [])
    gone = sum(outcome == GONE for outcome in unlike.values())
    assert tally.failed == 0
    assert tally.vanished >= gone
    if what != "exchanged-with-outside":
        assert attrs(outside) == before
    assert {path.split(b"/")[0] for path in drift(tree)} == MISSED.get(what, set())


def test_entry_that_is_changed_before_each_try_fails_after_three_retries(
    opened: Backend, tree: Path
) -> None:
    modes = (0o600, 0o640)
    meddler = Meddler(opened, lambda times: (tree / "file").chmod(modes[times % 2]))
    result, tally, watch = run(meddler)
    assert meddler.times == 1 + RETRIES
    assert result == Result("failures")
    assert [(f.path, f.operation, f.errno) for f in watch.failures] == [
        (b"file", "change", errno.EAGAIN)
    ]
    assert watch.failures[0].note == "somebody keeps changing it"
    assert (tally.entries, tally.changed, tally.failed) == (len(ALL), len(ALL) - 1, 1)
    assert drift(tree) == [b"file"]


def test_names_that_are_gone_when_they_are_looked_at_are_counted_as_vanished(
    opened: Backend, tree: Path
) -> None:
    begun = opened.scan(walk_unit([whole()]), POLICY, OPTIONS, Limits(60, 1, 10**9))
    unit = begun.rest
    assert unit is not None
    root = Group(b"", tree.stat().st_ino, ((Hint.SELF, b""),))
    assert begun.deferred == walk_unit([root], counted=True)
    (tree / "file").unlink()
    emptied(tree / "dir")
    scan = opened.scan(unit, POLICY, OPTIONS, PLENTY)
    assert not scan.failures
    assert scan.tally.vanished == 2
    assert [change.path for change in read_changes(scan.preimage)] == [b"other/a", b"other"]
