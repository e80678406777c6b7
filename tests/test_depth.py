"""Chains of 20,000 directories take seconds, on few descriptors: nothing is quadratic in depth."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.deep import levels, make_chain
from tests.inprocess import Program
from tests.support import GID, Attrs, Cli, attrs, drift

pytestmark = pytest.mark.privileged

NOFILE = 256
# Seconds of CPU for a command, where making a chain of 20,000 takes MAKING; more where the machine
# is slow or busy. Where every unit pays for the whole way down, it is 40 times this and more.
SECONDS = 5.0
MAKING = 0.5


@pytest.fixture
def few_files(cli: Cli) -> Cli:
    """The program with few open files."""
    launch = Path(__file__).with_name("launch.py")
    return replace(cli, prefix=(sys.executable, str(launch), "--nofile", str(NOFILE), "--"))


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "comb"), [(20_000, False), (5_000, True)], ids=["chain", "comb"])
def test_deep_tree_is_changed_verified_and_put_back_in_seconds(
    few_files: Cli, tmpfs: Path, depth: int, comb: bool
) -> None:
    began = monotonic()
    make_chain(tmpfs, depth, comb=comb)
    limit = SECONDS * max(1.0, (monotonic() - began) / MAKING)
    before = list(levels(tmpfs))
    assert len(before) == depth + 1
    entries = sum(map(len, before))

    def run(*args: object) -> None:
        spent = _cpu_of_children()
        ended = few_files(*args)
        spent = _cpu_of_children() - spent
        assert ended.status == 0
        assert (ended.summary["status"], ended.summary["entries"]) == ("done", entries)
        assert spent < limit, f"{args[0]} took {spent:.1f} s of CPU"

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


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
