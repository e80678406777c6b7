"""Logs: nothing outside their directory is written to."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipmigrate.jobs.logs import LogDirectory
from tests.support.inprocess import Program
from tests.support.map_shares import put_v1
from tests.support.program import Ended
from tests.support.situations import made

pytestmark = pytest.mark.privileged

LOGS = ("upgraded.log", "invalid.log", "failed.log")
CONTENT = "root's only copy\n"


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough."""
    return codec


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside, whose only copy it is."""
    path = tmp_path / "victim"
    path.write_text(CONTENT)
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory for logs, in which others can make files."""
    path = tmp_path / "logs"
    path.mkdir()
    path.chmod(0o777)
    return path


def upgrade(program: Program, maps: Path, logs: Path) -> Ended:
    """Run over one volume, which is upgraded."""
    put_v1(maps, "foobar")
    return program("mapfiles", "--maps", maps, "--log-dir", logs)


def test_logs_are_written(program: Program, maps: Path, logs: Path) -> None:
    """The control."""
    assert upgrade(program, maps, logs).status == 0
    assert (logs / "upgraded.log").read_text() == "Upgraded foobar\n"
    assert {path.name for path in logs.iterdir()} == set(LOGS)


def by_link(log: Path, victim: Path) -> None:
    log.symlink_to(victim)


def by_hard_link(log: Path, victim: Path) -> None:
    log.hardlink_to(victim)


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("lead", [by_link, by_hard_link])
def test_log_does_not_lead_outside(
    program: Program,
    maps: Path,
    logs: Path,
    victim: Path,
    name: str,
    lead: Callable[[Path, Path], None],
) -> None:
    lead(logs / name, victim)
    made((logs / name).samefile(victim), "a log that is a file outside")
    upgrade(program, maps, logs)
    assert victim.read_text() == CONTENT


def test_log_makes_no_file_outside(
    program: Program, maps: Path, logs: Path, tmp_path: Path
) -> None:
    (logs / "failed.log").symlink_to(tmp_path / "made")
    upgrade(program, maps, logs)
    made(maps.is_dir(), "a run")
    assert not (tmp_path / "made").exists()


def test_log_that_is_a_fifo_is_not_written_to(program: Program, maps: Path, logs: Path) -> None:
    os.mkfifo(logs / "upgraded.log")
    reader = os.open(logs / "upgraded.log", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(logs / "upgraded.log", os.O_WRONLY)  # without one, nothing is "end of file"
    try:
        upgrade(program, maps, logs)
        with pytest.raises(BlockingIOError):
            assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
        os.close(writer)


def test_log_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """What fails half-way leaves the earlier log, and no part of the new one."""
    (tmp_path / "some.log").write_text("earlier\n")

    def lines() -> Iterator[bytes]:
        yield b"new\n"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with contextlib.closing(LogDirectory(tmp_path)) as logs, pytest.raises(OSError, match="space"):
        logs.write("some.log", lines())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"some.log": "earlier\n"}


def test_directory_that_is_exchanged_while_it_is_open_is_not_entered(
    logs: Path, tmp_path: Path
) -> None:
    with contextlib.closing(LogDirectory(logs)) as opened:
        logs.rename(tmp_path / "moved")
        (tmp_path / "outside").mkdir()
        logs.symlink_to(tmp_path / "outside")
        opened.write("some.log", [b"line\n"])
    assert list((tmp_path / "outside").iterdir()) == []
    assert (tmp_path / "moved" / "some.log").read_text() == "line\n"
