"""Fixtures: both backends, directories, and the program as a process or in this one.

And how tests run beside each other in the workers of pytest-xdist: nothing runs beside those that
are marked `alone`. tests/README.md is the map of all tests.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.backend.select import available
from tests.support import thinned
from tests.support.inprocess import Program
from tests.support.program import MISSING, Cli, missing, need


class Turns:
    """Who may run a test now, over all workers: many at a time, or a single one that is alone.

    Two locks of files, which the kernel releases if a worker dies. A worker holds the *room* while
    it runs a test: shared, or exclusively to be alone. It waits for the room at the *door*, one
    worker at a time: without that, a worker that is to be alone would wait for as long as others
    find tests to run, because each leaves the room for an instant only.

        worker 1, in a test     worker 2, next is alone     worker 3
        room shared
                                door
                                waits for the room
        leaves the room                                     waits for the door
        waits for the door      has the room, leaves the
                                door
    """

    def __init__(self, root: Path) -> None:
        self._door = os.open(root / "Makefile", os.O_RDONLY)
        self._room = os.open(root / "pyproject.toml", os.O_RDONLY)
        self._stays = False

    def enter(self, *, alone: bool) -> None:
        """Wait for the room, unless this worker stayed in it."""
        if not self._stays:
            fcntl.flock(self._door, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self, *, stay: bool) -> None:
        """Leave the room, or stay for the next test, which is to be alone, too."""
        self._stays = stay
        if not stay:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the files."""
        os.close(self._room)
        os.close(self._door)


TURNS = pytest.StashKey[Turns]()


def _is(item: pytest.Item | None, marker: str) -> bool:
    return item is not None and item.get_closest_marker(marker) is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of `make test`."""
    parser.addoption("--thinned", action="store_true", help="leave out variants of slow tests")


def pytest_configure(config: pytest.Config) -> None:
    """Open what all workers lock."""
    config.stash[TURNS] = Turns(config.rootpath)
    thinned.thin(active=config.getoption("thinned"))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close it."""
    config.stash[TURNS].close()


def _left_out(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the variants that are not run: of slow tests, and of those that run the program."""
    variants: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _is(item, "slow") or "backend" in getattr(item, "fixturenames", ()):
            variants.setdefault(item.nodeid.partition("[")[0], []).append(item)
    every = {item.nodeid for all_of in variants.values() for item in all_of}
    run = {
        item.nodeid for test, all_of in variants.items() for item in thinned.variants(test, all_of)
    }
    return [item for item in items if item.nodeid in every - run]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--thinned` does; skip what needs root where there is none; order the rest.

    Tests to be alone come first: one worker gets all of them, and the others wait only once. The
    rest is dealt out: each worker begins with files of its own that have slow tests, the guests of
    tests/nfs before all, and makes what a file needs once. Workers steal from each other's end, so
    that none of them is left with a slow test when the others have nothing to do.
    """
    left_out = _left_out(items)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    for item in items:
        if _is(item, "privileged") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
    alone = [item for item in items if _is(item, "alone")]
    rest = [item for item in items if not _is(item, "alone")]
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    items[:] = alone + list(_dealt(rest, workers))


def _dealt(items: list[pytest.Item], workers: int) -> Iterator[pytest.Item]:
    """Yield the tests so that each worker gets as many slow ones, whole files of them, first.

    pytest-xdist cuts the list into parts of one size, one for each worker to begin with.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = {path: sum(_is(item, "slow") for item in of_file) for path, of_file in files.items()}
    fast = [item for item in items if not slow[item.path]]
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    held = [0] * workers
    for path in sorted(filter(slow.get, slow), key=lambda path: -slow[path]):
        least = held.index(min(held))
        held[least] += slow[path]
        hands[least] += files[path]
    for number, hand in enumerate(hands):
        hand.sort(key=lambda item: (item.path.parent.name != "nfs", not slow[item.path]))
        size = (len(items) - sum(map(len, hands[:number]))) // (workers - number)
        more = max(0, size - len(hand))
        hand.extend(fast[:more])
        del fast[:more]
        yield from hand
    yield from fast


def pytest_collection_finish() -> None:
    """Have collections of garbage pass over the thousands of tests: each would take 0.3 s.

    Hypothesis has to be imported before that, not first for the summary of a session: it looks who
    refers to the random numbers of trio.
    """
    importlib.import_module("hypothesis")
    gc.collect()
    gc.freeze()


# Outermost, so that waiting for a turn does not count as time of the test.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Run a test when it is its turn, all that are to be alone in one turn."""
    turns = item.config.stash[TURNS]
    turns.enter(alone=_is(item, "alone"))
    try:
        return (yield)
    finally:
        turns.leave(stay=_is(item, "alone") and _is(nextitem, "alone"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the packages that a worker missed to the controller, which prints the summary."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["missing"] = sorted(MISSING)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receive them; a worker that crashed sent nothing."""
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
    """The fastest backend: for tests in which backends differ by nothing but their codec."""
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
    """The program as a process, with one backend and a state directory of its own."""
    return Cli(backend, state)


@pytest.fixture
def program(backend: str, state: Path) -> Program:
    """The program in this process, with one backend and a state directory of its own: faster."""
    return Program(backend, state)


@pytest.fixture
def unmounting() -> Iterator[Callable[[Path], None]]:
    """Call with a mount point to have it unmounted after the test."""
    mounted: list[Path] = []
    yield mounted.append
    for path in reversed(mounted):
        os.system(f"umount -l '{path}'")


@pytest.fixture
def mount(unmounting: Callable[[Path], None]) -> Callable[..., Path]:
    """Call with a directory and options of mount(8); unmounted after the test."""

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
    """An empty tmpfs: trees are created fast, and removed however deep they are."""
    return mount(tmp_path / "tmpfs", "-t", "tmpfs", "-o", "mode=700", "tmpfs")


@pytest.fixture
def ext4(mount: Callable[..., Path], tmp_path: Path) -> Path:
    """An empty directory on ext4, where leases and times tell who has written to a file."""
    image = tmp_path / "image"
    image.touch()
    os.truncate(image, 8 << 20)
    subprocess.run([need("mkfs.ext4", "e2fsprogs"), "-q", image], check=True)
    directory = mount(tmp_path / "ext4", "-o", "loop", image) / "share"
    directory.mkdir(mode=0o700)
    return directory
