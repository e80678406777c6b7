"""Logs and configurations: nothing outside is written to, and nothing in them is a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.errors import UsageError
from archipmigrate.maps.ini import Ini
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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="logs are opened by their paths")
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


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="logs are opened by their paths")
def test_log_makes_no_file_outside(
    program: Program, maps: Path, logs: Path, tmp_path: Path
) -> None:
    (logs / "failed.log").symlink_to(tmp_path / "made")
    upgrade(program, maps, logs)
    made(maps.is_dir(), "a run")
    assert not (tmp_path / "made").exists()


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="logs are opened by their paths")
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


# -- configurations


def configured(program: Program, path: Path, **options: str) -> Ended:
    """Look, as a configuration says; a traceback is a status that none has."""
    owner = {name: options.pop(name, "root") for name in ("USER", "GROUP")}
    sections = {"ARCHIPELAGO": owner, "blockerm": options}
    path.write_bytes(
        b"".join(
            f"[{section}]\n".encode()
            + "".join(f"{name} = {value}\n" for name, value in values.items()).encode()
            for section, values in sections.items()
        )
    )
    try:
        return program("mapfiles", "-n", "--config", path)
    except Exception as error:  # noqa: BLE001 -- that there is none is what is tested
        return Ended(-1, "", f"{type(error).__name__}: {error}")


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="a traceback: embedded null byte")
@pytest.mark.parametrize("option", ["archip_dir", "lock_dir", "USER", "GROUP"])
def test_configuration_with_a_nul_is_an_error_that_names_the_option(
    program: Program, maps: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "conf"
    good = configured(program, path, archip_dir=str(maps))
    made(good.status == 0, "a configuration that serves")
    value = f"{maps}\0" if option.endswith("dir") else "root\0"
    ended = configured(program, path, **{"archip_dir": str(maps), option: value})
    assert ended.status == 2
    assert option in ended.err


def test_reference_to_a_reference_is_replaced() -> None:
    """The control."""
    text = "[s]\na = /srv\nb = %(a)s/archip\nc = %(b)s/maps\n"
    assert Ini(text).get("s", "c") == "/srv/archip/maps"


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="values have no bound")
def test_references_that_grow_without_bound_are_refused() -> None:
    lines = [f"a{n} = " + f"%(a{n - 1})s" * 4 for n in range(1, 10)]
    ini = Ini("\n".join(["[s]", "a0 = /x", *lines]))
    grown = ""
    try:
        grown = ini.get("s", "a9") or ""
    except UsageError:
        return
    assert len(grown) < 1 << 16
