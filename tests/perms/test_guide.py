"""The end state is that of the guide's five commands, run on a twin of the same tree."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import crafted_tree as crafted
from tests.support.guide import follow_guide
from tests.support.inprocess import Program
from tests.support.program import GID, Ended, attrs, drift

pytestmark = pytest.mark.privileged


class State(NamedTuple):
    """All of an entry that a change of group and mode may touch, or must not."""

    mode: int
    uid: int
    gid: int
    links: int
    size: int
    device: int
    xattrs: tuple[tuple[str, bytes], ...]


def walked(root: Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield each entry's path from *root*, and its whole path."""
    for path in attrs(root):
        yield path, os.path.join(os.fsencode(root), path)


def states(root: Path) -> dict[bytes, State]:
    """Return the state of every entry by its path from *root*."""
    found = {}
    for path, whole in walked(root):
        status = os.lstat(whole)
        names = sorted(os.listxattr(whole, follow_symlinks=False))
        found[path] = State(
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_nlink,
            status.st_size if stat.S_ISREG(status.st_mode) else 0,
            status.st_rdev,
            tuple((n, os.getxattr(whole, n, follow_symlinks=False)) for n in names),
        )
    return found


def both_states(root: Path) -> dict[bytes, State]:
    """Return the states of a crafted tree and of what lies beside it."""
    beside = {b"../" + path: state for path, state in states(crafted.outside(root)).items()}
    return states(root) | beside


def ctimes(root: Path) -> dict[bytes, int]:
    """Return the ctime of every entry in nanoseconds."""
    return {path: os.lstat(whole).st_ctime_ns for path, whole in walked(root)}


def is_due(state: State) -> bool:
    """Say whether an entry must change, without the code under test."""
    bits = 0o2070 if stat.S_ISDIR(state.mode) else 0o060
    kept = stat.S_ISDIR(state.mode) or stat.S_ISREG(state.mode)
    return kept and (state.gid != GID or state.mode & bits != bits)


def as_guided(guided: dict[bytes, State], before: dict[bytes, State]) -> dict[bytes, State]:
    """Return the end state to expect: the guide's, but compliant files keep their set-id bits."""
    kept = {
        path: state
        for path, state in before.items()
        if stat.S_ISREG(state.mode) and state.mode & 0o6000 and not is_due(state)
    }
    # A real difference: the guide strips these, though nothing was wrong with them.
    assert sum(guided[path] != state for path, state in kept.items()) > 5
    return guided | kept


def changes(ended: Ended) -> list[dict[str, Any]]:
    """Return the listed changes of a --json run."""
    return [thing for thing in ended.objects if thing["type"] == "change"]


def as_undone(before: dict[bytes, State], after: dict[bytes, State]) -> dict[bytes, State]:
    """Return the end state of a run and its undo: set-id bits that files lost stay off."""
    return {
        path: state._replace(mode=state.mode & (after[path].mode | ~0o6000))
        for path, state in before.items()
    }


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> dict[bytes, State]:
    """The crafted tree as the guide leaves it."""
    root = tmp_path_factory.mktemp("guide") / "share"
    crafted.build(root)
    follow_guide(root)
    return both_states(root)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A crafted tree."""
    root = tmp_path / "tree"
    crafted.build(root)
    return root


def test_crafted_tree_is_the_same_each_time(tmp_path: Path) -> None:
    crafted.build(tmp_path / "a")
    crafted.build(tmp_path / "b")
    one, other = both_states(tmp_path / "a"), both_states(tmp_path / "b")
    assert one.keys() == other.keys()
    differing = {path for path in one if one[path] != other[path]}
    assert differing <= {b"odd/to-outside-file", b"odd/to-outside-directory"}
    kinds = {stat.S_IFMT(state.mode) for state in one.values()}
    assert len(kinds) == 7


def test_end_state_is_the_guides_but_for_compliant_set_id_files(
    program: Program, tree: Path, guided: dict[bytes, State]
) -> None:
    before = both_states(tree)
    ended = program.perms(tree)
    assert (ended.status, ended.err) == (0, "")
    assert both_states(tree) == as_guided(guided, before)
    assert ended.summary["failed"] == ended.summary["vanished"] == ended.summary["skipped"] == 0


def test_guide_leaves_nothing_to_do_for_verify(program: Program, tree: Path) -> None:
    follow_guide(tree)
    ended = program.verify(tree)
    assert ended.status == 0
    assert ended.summary["drift"] == 0


def test_tally_counts_every_entry_once(program: Program, tree: Path) -> None:
    before = states(tree)
    inodes = {path: os.lstat(whole).st_ino for path, whole in walked(tree)}
    kinds = Counter(stat.S_IFMT(state.mode) for state in before.values())
    due = {inodes[path] for path, state in before.items() if is_due(state)}
    linked = sum(stat.S_ISREG(s.mode) and s.links > 1 for s in before.values())
    summary = program.perms(tree).summary
    assert summary["entries"] == len(before)
    assert summary["directories"] == kinds[stat.S_IFDIR]
    assert summary["files"] == kinds[stat.S_IFREG]
    assert summary["others"] == len(before) - kinds[stat.S_IFDIR] - kinds[stat.S_IFREG]
    assert summary["changed"] == len(due)
    assert summary["compliant"] == kinds[stat.S_IFDIR] + kinds[stat.S_IFREG] - len(due)
    assert summary["hard_linked"] == linked == 8


def test_ctime_changes_only_where_something_must_change(program: Program, tree: Path) -> None:
    before, then = states(tree), ctimes(tree)
    assert program.perms(tree).status == 0
    now = ctimes(tree)
    for path, state in before.items():
        assert (now[path] != then[path]) == is_due(state), path


def test_second_run_changes_nothing(program: Program, tree: Path) -> None:
    assert program.perms(tree).status == 0
    before, then = both_states(tree), ctimes(tree)
    again = program.perms(tree)
    assert (again.status, again.summary["changed"]) == (0, 0)
    assert (both_states(tree), ctimes(tree)) == (before, then)


@pytest.mark.parametrize("form", [("--list",), ("--list", "--json")], ids=["text", "json"])
def test_dry_run_lists_exactly_what_the_run_lists(
    program: Program, tree: Path, form: tuple[str, ...]
) -> None:
    # One lane: which of its names a linked inode is listed by depends on who comes first.
    options = ("--group", GID, "--jobs", 1, *form, tree)
    before = both_states(tree)

    def listed(command: str, *more: str) -> list[str]:
        ended = program(command, *more, *options)
        assert ended.status in (0, 4)
        return sorted(line for line in ended.out.splitlines() if "->" in line or '"change"' in line)

    dry, drifted = listed("perms", "--dry-run"), listed("verify")
    assert both_states(tree) == before
    real = listed("perms")
    assert dry == drifted == real
    due = {os.lstat(whole).st_ino for path, whole in walked(tree) if before[path].gid != GID}
    assert len(due) < len(real) == len(set(real))


def test_listed_changes_name_each_linked_inode_once(program: Program, tree: Path) -> None:
    for options in (("--dry-run",), ()):
        names = [thing["path"] for thing in changes(program.perms(tree, "--list", *options))]
        for same in (("twice", "twice-again", "elsewhere/thrice"), ("set-id", "elsewhere/set-id")):
            assert sum(f"links/{name}" in names for name in same) == 1
        assert "links/outside" in names


def test_listed_change_tells_old_and_new_attrs(program: Program, tree: Path) -> None:
    before = states(tree)
    listed = changes(program.perms(tree, "--list"))
    after = states(tree)
    assert len(listed) > 200
    for thing in listed:
        path = os.fsencode(thing["path"]) if "path_b64" not in thing else None
        if path is None:
            continue  # the next test's
        path = b"" if path == b"." else path
        assert thing["gid"] == before[path].gid
        assert thing["new_gid"] == after[path].gid == GID
        assert int(thing["mode"], 8) == stat.S_IMODE(before[path].mode)
        assert int(thing["new_mode"], 8) == stat.S_IMODE(after[path].mode)
        assert (thing["kind"] == "directory") == stat.S_ISDIR(before[path].mode)


def test_verify_finds_the_drift_and_then_none(program: Program, tree: Path) -> None:
    due = {os.lstat(whole).st_ino for path, whole in walked(tree) if is_due(states(tree)[path])}
    first = program.verify(tree)
    assert (first.status, first.summary["status"]) == (4, "drift")
    assert first.summary["drift"] == len(due)
    assert drift(tree)
    program.perms(tree)
    last = program.verify(tree)
    assert (last.status, last.summary["status"], last.summary["drift"]) == (0, "done", 0)
    assert not drift(tree)


def test_undo_restores_all_but_set_id_bits_and_capabilities_of_files(
    program: Program, tree: Path
) -> None:
    before = both_states(tree)
    program.perms(tree)
    expected = as_undone(before, both_states(tree))
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["failed"]) == (3, 0)
    after = both_states(tree)
    lost = expected.pop(b"acl/capable"), after.pop(b"acl/capable")
    assert lost[0]._replace(xattrs=()) == lost[1]
    assert after == expected


def test_notices_name_acls_and_capabilities(program: Program, tree: Path) -> None:
    notices = [thing for thing in program.perms(tree).objects if thing["type"] == "notice"]
    found = {(thing["kind"], thing["path"]) for thing in notices}
    assert ("capability", "acl/capable") in found
    assert {path for kind, path in found if kind == "acl"} >= {
        *("acl/narrow", "acl/wide", "acl/dnarrow", "acl/dwide", "acl/default/inherits"),
    }


# -- the three jobs in the smallest of units


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every unit, chunk and wide directory tiny."""
    monkeypatch.setattr("archipmigrate.engine.throttle.MOST_ENTRIES", 3)
    monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 2)
    monkeypatch.setattr("archipmigrate.engine.frontier.MEMORY", 256)
    monkeypatch.setattr("archipmigrate.engine.frontier.LARGE_BODY", 128)
    for module in ("python.scan", "native"):
        with suppress(AttributeError, ImportError):  # there may be no native
            monkeypatch.setattr(f"archipmigrate.backend.{module}.WIDE", 5)
            monkeypatch.setattr(f"archipmigrate.backend.{module}.CHUNKS", 2)


@pytest.mark.parametrize("jobs", [1, 3])
def test_tiny_units_come_to_the_same(
    program: Program, tree: Path, guided: dict[bytes, State], narrow: None, jobs: int
) -> None:
    before = both_states(tree)
    entries = len(states(tree))
    dry = program.perms(tree, "--dry-run", "--jobs", jobs).summary
    real = program.perms(tree, "--jobs", jobs).summary
    assert dry["entries"] == real["entries"] == entries
    assert dry["changed"] == real["changed"]
    expected = as_undone(before, both_states(tree))
    assert both_states(tree) == as_guided(guided, before)
    assert program.verify(tree, "--jobs", jobs).summary["drift"] == 0
    undone = program("undo", "--json", "--jobs", jobs).summary
    assert undone["changed"] + undone["skipped"] == real["changed"]
    after = both_states(tree)
    del expected[b"acl/capable"], after[b"acl/capable"]
    assert after == expected
