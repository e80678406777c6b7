"""Fixtures: both backends, a state directory, and the program as users start it.

And how tests run beside each other, in the workers of pytest-xdist: with nothing beside those that
are marked `alone`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.backend.select import available
from tests.support.inprocess import Program
from tests.support.program import MISSING, Cli, missing, need

TURNS = pytest.StashKey[int]()


def _alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None


def pytest_configure(config: pytest.Config) -> None:
    """Open what all workers lock: shared for a test, exclusively for one that is to be alone."""
    config.stash[TURNS] = os.open(config.rootpath / "pyproject.toml", os.O_RDONLY)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close it."""
    os.close(config.stash[TURNS])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs root where there is none, and say so; never in CI.

    What is to be alone comes first: one worker gets all of it, and the others wait only once.
    """
    for item in items:
        if item.get_closest_marker("privileged") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
    items.sort(key=_alone, reverse=True)


# Outermost, so that waiting for a turn does not count as time of the test.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run a test when it is its turn, all that are to be alone in one turn."""
    turns = item.config.stash[TURNS]
    fcntl.flock(turns, fcntl.LOCK_EX if _alone(item) else fcntl.LOCK_SH)
    try:
        return (yield)
    finally:
        if not (_alone(item) and _alone(nextitem)):
            fcntl.flock(turns, fcntl.LOCK_UN)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker missed to the terminal's process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = sorted(MISSING)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take it there; a worker that crashed has nothing to hand over."""
    MISSING.update(getattr(node, "workeroutput", {}).get("missing", ()))


def pytest_report_header() -> str:
    """Name the backends under test."""
    return f"archipmigrate backends: {', '.join(available())}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which packages would let more tests run."""
    if MISSING:
        terminalreporter.write_line(
            f"tests were skipped because packages are missing: {', '.join(sorted(MISSING))}"
        )


@pytest.fixture(params=["python", "native"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn."""
    name = str(request.param)
    if name not in available():
        missing("gcc (the C extension)")
    return name


@pytest.fixture
def codec() -> str:
    """The fastest backend: for tests of what is the same with all of them but for the codec."""
    return available()[0]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory outside every share."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """An empty directory for a share."""
    directory = tmp_path / "share"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """An empty directory for maps."""
    path = tmp_path / "maps"
    path.mkdir(mode=0o755)
    return path


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    """An empty lock directory."""
    path = tmp_path / "locks"
    path.mkdir()
    return path


@pytest.fixture
def cli(backend: str, state: Path) -> Cli:
    """The program with one backend and its own state directory."""
    return Cli(backend, state)


@pytest.fixture
def program(backend: str, state: Path) -> Program:
    """The program called in this process, with one backend and its own state directory."""
    return Program(backend, state)


@pytest.fixture
def unmounting() -> Iterator[Callable[[Path], None]]:
    """Call with mount points; they are unmounted at the end."""
    mounted: list[Path] = []
    yield mounted.append
    for path in reversed(mounted):
        os.system(f"umount -l '{path}'")


@pytest.fixture
def mount(unmounting: Callable[[Path], None]) -> Callable[..., Path]:
    """Call with a directory, made if need be, and what mount(8) takes; unmounted at the end."""

    def mount(where: Path, *options: object) -> Path:
        where.mkdir(exist_ok=True)
        words = [need("mount"), *map(str, options), str(where)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            missing(f"the right to mount ({done.stderr.strip()})")
        unmounting(where)
        return where

    return mount


@pytest.fixture
def tmpfs(mount: Callable[..., Path], tmp_path: Path) -> Path:
    """An empty tmpfs, where trees are quickly made and vanish at the end, however deep."""
    return mount(tmp_path / "tmpfs", "-t", "tmpfs", "-o", "mode=700", "tmpfs")
