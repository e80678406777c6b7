"""The example of docs/design/adding-a-job.md works as it stands there, also when it is killed."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archipmigrate
from archipmigrate import cli
from archipmigrate.cli import main
from archipmigrate.jobs.registry import KINDS
from tests.support.inprocess import Program

EXAMPLE = Path(__file__).parents[2] / "docs" / "design" / "rename"
FILES = 4
CALLS = 2 * FILES  # a link and an unlink each
OLD = {f"file{number}.v03" for number in range(FILES)}
NEW = {name.removesuffix(".v03") for name in OLD}


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it."""


@pytest.fixture
def program(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program with the example in its places: a package, a line, a command."""
    shutil.copytree(EXAMPLE, tmp_path / "package" / "rename")
    (tmp_path / "commands").mkdir()
    shutil.move(tmp_path / "package" / "rename" / "command.py", tmp_path / "commands/rename.py")
    for package, place in ((archipmigrate, "package"), (cli, "commands")):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / place)])
    importlib.invalidate_caches()
    monkeypatch.setitem(KINDS, "rename", "..rename.kind")
    monkeypatch.setattr(main, "COMMANDS", (*main.COMMANDS, "rename"))
    return Program("auto", state)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "files"
    directory.mkdir()
    for name in OLD:
        (directory / name).write_text(name)
    return directory


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have the program killed in place of its n-th call that changes a name."""
    calls = iter(range(1, 1000))

    def instead_of(real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, *args: Any, **options: Any) -> None:
            is_ours = isinstance(path, bytes) and {"dir_fd", "src_dir_fd"} & set(options)
            if is_ours and next(calls) == number:
                raise Killed
            real(path, *args, **options)

        return call

    for name in ("link", "unlink"):
        monkeypatch.setattr(os, name, instead_of(getattr(os, name)))


def test_run_dry_run_and_undo(program: Program, files: Path) -> None:
    assert program("rename", "-n", "--json", files).summary["changed"] == FILES
    assert names(files) == OLD
    assert program("rename", "--json", files).summary["changed"] == FILES
    assert names(files) == NEW
    assert program("undo", "--json").summary["changed"] == FILES
    assert names(files) == OLD


def test_failure_is_tried_again(program: Program, files: Path) -> None:
    (files / "file0").write_text("in the way")
    failed = program("rename", "--json", files)
    assert (failed.status, failed.summary["changed"], failed.summary["failed"]) == (3, 3, 1)
    (files / "file0").unlink()
    ended = program("resume", "--failed", "--json")
    assert (ended.status, ended.summary["changed"], ended.summary["failed"]) == (0, FILES, 0)
    assert ended.summary["entries"] == FILES
    assert names(files) == NEW


@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_killed_run_is_resumed_and_killed_undo_repeated(
    program: Program, files: Path, number: int
) -> None:
    for command, there in ((("rename", "--json", files), NEW), (("undo", "--json"), OLD)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            kill_at(monkeypatch, number)
            with pytest.raises(Killed):
                program(*command)
        ended = program(*command)
        counts = [ended.summary[name] for name in ("entries", "changed", "compliant", "failed")]
        assert counts == [FILES, FILES, 0, 0]
        assert names(files) == there
