"""Chains of 20,000 directories take few calls and descriptors: nothing is quadratic in depth."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import restricted
from tests.support.deep_trees import levels, make_chain
from tests.support.inprocess import Program
from tests.support.program import GID, Attrs, Cli, Ended, attrs, drift, need
from tests.support.thinned import fewer

pytestmark = pytest.mark.privileged

NOFILE = 256
# Calls that open a directory, by entry. Measured: 3.4 where entries are changed (pinned to be seen,
# opened to be read, pinned to be changed), 1.0 where they are only looked at; in the worst case,
# where every unit is one entry, 5 more, for a step of openat2 goes 2,000 levels. Where every unit
# goes the whole way down step by step, as it does without openat2, a comb of 5,000 takes 35 to 63.
OPENS = 10


@pytest.fixture
def counted(cli: Cli, tmp_path: Path) -> Callable[..., tuple[Ended, int]]:
    """Return the program with few open files; it tells also how often it opened something."""
    table = tmp_path / "calls"
    traced = ("-e", "trace=open,openat,openat2,open_by_handle_at")
    strace = (need("strace"), "-f", "-qq", "-c", "--seccomp-bpf", "-o", str(table), *traced)
    launch = (str(Path(restricted.__file__)), "--nofile", str(NOFILE), "--")
    few_files = replace(cli, prefix=(*strace, sys.executable, *launch))

    def run(*args: object) -> tuple[Ended, int]:
        ended = few_files(*args)
        rows = [line.split() for line in table.read_text().splitlines()]
        return ended, sum(int(row[3]) for row in rows if row[-1].startswith("open"))

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "comb"), [(fewer(20_000), False), (5_000, True)], ids=["chain", "comb"]
)
def test_deep_tree_is_changed_verified_and_put_back_in_few_calls(
    counted: Callable[..., tuple[Ended, int]], tmpfs: Path, depth: int, comb: bool
) -> None:
    make_chain(tmpfs, depth, comb=comb)
    before = list(levels(tmpfs))
    assert len(before) == depth + 1
    entries = sum(map(len, before))

    def run(*args: object) -> None:
        ended, opens = counted(*args)
        assert ended.status == 0
        assert (ended.summary["status"], ended.summary["entries"]) == ("done", entries)
        assert entries <= opens <= OPENS * entries, args[0]

    run("perms", "--json", "--group", GID, tmpfs)
    assert list(levels(tmpfs)) == [[_guided(entry) for entry in level] for level in before]
    run("verify", "--json", "--group", GID, tmpfs)
    run("undo", "--json")
    assert list(levels(tmpfs)) == before


def test_paths_beyond_path_max_are_changed_verified_and_put_back(
    program: Program, tmpfs: Path
) -> None:
    make_chain(tmpfs, 61, name=b"n" * 200, comb=True)
    before = attrs(tmpfs)
    assert max(map(len, before)) > 2 * os.pathconf("/", "PC_PATH_MAX")
    assert program.verify(tmpfs).summary["drift"] == len(before)
    summary = program.perms(tmpfs, "--jobs", 2).summary
    assert (summary["status"], summary["changed"]) == ("done", len(before))
    assert not drift(tmpfs)
    assert program.verify(tmpfs).summary["drift"] == 0
    assert program("undo").status == 0
    assert attrs(tmpfs) == before


def _guided(entry: Attrs) -> Attrs:
    mode, uid, _ = entry
    return mode | 0o2070, uid, GID
