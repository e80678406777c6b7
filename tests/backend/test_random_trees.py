"""Random trees: backends and guide agree on the end, and every look on what is to change."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archipmigrate.backend.select import available
from tests.support.guide import follow_guide
from tests.support.inprocess import Program
from tests.support.kill import count_off, undone
from tests.support.program import GID, Attrs, attrs, missing
from tests.support.thinned import fewer

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

OWNERS = ((0, 0), (1000, 1000), (1000, GID))
TALLY = (
    *("entries", "directories", "files", "others", "changed", "compliant", "skipped"),
    *("vanished", "failed", "hard_linked"),
)


@dataclass(frozen=True)
class Node:
    """An entry of a random tree. A file may have a second name, in the directory above."""

    kind: str
    mode: int
    owner: int
    twice: bool
    inside: tuple[tuple[bytes, Node], ...] = ()


def distinct(entries: Iterable[tuple[bytes, Node]]) -> tuple[tuple[bytes, Node], ...]:
    return tuple(dict(entries).items())


names = st.binary(min_size=1, max_size=5).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
bits = st.integers(0, 0o7777) | st.sampled_from((0o660, 0o2770, 0o4770, 0o2660, 0o644, 0o755))
leaves = st.builds(
    Node,
    st.sampled_from(("file", "file", "directory", "link", "fifo")),
    bits,
    st.integers(0, len(OWNERS) - 1),
    st.booleans(),
)


def directories(inside: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(
        Node,
        st.just("directory"),
        bits,
        st.integers(0, len(OWNERS) - 1),
        st.just(value=False),
        st.lists(st.tuples(names, inside), max_size=6).map(distinct),
    )


trees = directories(st.recursive(leaves, directories, max_leaves=12))


def make(path: bytes, node: Node) -> None:
    """Make an entry and all in it."""
    if node.kind == "directory":
        os.makedirs(path, exist_ok=True)
        for name, inside in node.inside:
            make(path + b"/" + name, inside)
    elif node.kind == "link":
        os.symlink(b"..", path)
        return
    elif node.kind == "fifo":
        os.mkfifo(path)
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        if node.twice:
            os.link(path, path[:200] + b"~twice")
    os.chown(path, *OWNERS[node.owner])
    os.chmod(path, node.mode)


def strips(entry: Attrs) -> bool:
    """Say whether the guide takes set-id bits from an entry with which nothing is wrong."""
    mode, _, gid = entry
    return stat.S_ISREG(mode) and gid == GID and mode & 0o060 == 0o060 and bool(mode & 0o6000)


def listed(program: Program, command: str, share: Path, *options: object) -> tuple[Any, set[Any]]:
    """Run a command; return its summary and what it listed, by inode and by old and new attrs."""
    ended = program(command, "--json", "--list", "--group", GID, *options, share)
    assert ended.status in (0, 4), ended.err
    found = [thing for thing in ended.objects if thing["type"] == "change"]
    fields = ("kind", "mode", "new_mode", "gid", "new_gid")
    lines = {(inode(share, thing), *(thing[name] for name in fields)) for thing in found}
    assert len(lines) == len(found)
    return ended.summary, lines


def inode(share: Path, thing: dict[str, Any]) -> int:
    """Return the inode that a JSON line names."""
    path = base64.b64decode(thing["path_b64"]) if "path_b64" in thing else thing["path"].encode()
    return os.lstat(os.path.join(os.fsencode(share), path)).st_ino


def ctimes(share: Path) -> dict[bytes, int]:
    return {p: os.lstat(os.path.join(os.fsencode(share), p)).st_ctime_ns for p in attrs(share)}


@settings(
    max_examples=fewer(20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(tree=trees, jobs=st.integers(1, 3))
def test_backends_and_guide_agree_on_a_random_tree(tree: Node, jobs: int) -> None:
    if "native" not in available():
        missing("gcc (the C extension)")
    top = Path(tempfile.mkdtemp(prefix="archipmigrate-test-"))
    try:
        roots = {name: top / name for name in ("guide", "python", "native")}
        for root in roots.values():
            make(os.fsencode(root), tree)
        before = attrs(roots["guide"])
        follow_guide(roots["guide"])
        kept = {path: entry for path, entry in before.items() if strips(entry)}
        expected = attrs(roots["guide"]) | kept
        summaries = [
            check(Program(name, top / f"state-{name}"), roots[name], expected, jobs)
            for name in ("python", "native")
        ]
        assert summaries[0] == summaries[1]
    finally:
        shutil.rmtree(top)


def check(program: Program, share: Path, expected: dict[bytes, Attrs], jobs: int) -> list[int]:
    """Run all commands on a share, and return the tally of `perms`."""
    program.state.mkdir(mode=0o700)
    options = ("--jobs", jobs)
    before, then = attrs(share), ctimes(share)
    verified, drifted = listed(program, "verify", share, *options)
    tried, dry = listed(program, "perms", share, "--dry-run", *options)
    assert (attrs(share), ctimes(share)) == (before, then)
    done, real = listed(program, "perms", share, *options)
    assert dry == drifted == real
    assert [tried[name] for name in TALLY] == [done[name] for name in TALLY]
    assert verified["drift"] == done["changed"] == len(real)
    assert (verified["status"] == "drift") == bool(real)
    counted = done["changed"] + done["compliant"] + done["skipped"]
    assert done["entries"] == done["directories"] + done["files"] + done["others"] == len(before)
    assert done["directories"] + done["files"] == counted
    assert attrs(share) == expected
    then = ctimes(share)
    again, nothing = listed(program, "perms", share, *options)
    assert (again["changed"], nothing, ctimes(share)) == (0, set(), then)
    assert listed(program, "verify", share, *options)[0]["drift"] == 0
    ended = program("undo", "--json", done["run"])
    files = {path: entry for path, entry in before.items() if stat.S_ISREG(entry[0])}
    off = count_off(files, share)
    assert (ended.status, ended.summary["skipped"]) == (3 if off else 0, off)
    assert ended.summary["changed"] == done["changed"] - off
    assert attrs(share) == before | undone(files)
    return [done[name] for name in TALLY]
