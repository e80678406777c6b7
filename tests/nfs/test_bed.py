"""The guest itself: what other tests take for granted, and that nothing is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.nfs import packages
from tests.nfs.guest import CHECKOUT, GuestDied, Result, run_guest
from tests.nfs.guest_programs import bed
from tests.nfs.traces import leaving_nothing, processes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

PATIENCE = 20.0  # seconds for what takes one on an idle machine
Guest = Callable[..., Result]

versions = pytest.mark.parametrize("version", ["3", "4.2"])


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shared(guest: Guest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """One run for many tests, and its `out`."""
    out = tmp_path_factory.mktemp("out")
    with leaving_nothing(tmp_path_factory.mktemp("left")):
        return run_guest(bed.bed, out, str(CHECKOUT)), out


@pytest.fixture
def reports(shared: tuple[Result, Path]) -> dict[str, Any]:
    """What the shared run reported."""
    return shared[0].reports


def test_guest_hands_back_output_and_status(shared: tuple[Result, Path]) -> None:
    result, _ = shared
    assert (result.out, result.err, result.status) == ("to stdout\n", "to stderr\n", 7)


def test_guest_changes_nothing_on_the_host_but_its_out(shared: tuple[Result, Path]) -> None:
    _, out = shared
    assert [file.name for file in out.iterdir()] == ["stays"]
    assert (out / "stays").read_text(encoding="ascii") == "here"
    assert not (CHECKOUT / "vanishes").exists()


def test_guest_state_directory_takes_sqlite_with_wal(reports: dict[str, Any]) -> None:
    assert reports["journal mode"] == "wal"


@versions
def test_guest_mounts_with_options(version: str, reports: dict[str, Any]) -> None:
    options = reports[f"{version} options"].split(",")
    assert {f"vers={version}", "noac", "nordirplus"} <= set(options)


@versions
def test_guest_counts_one_setattr_for_a_chmod(version: str, reports: dict[str, Any]) -> None:
    assert reports[f"{version} chmod"] == {"SETATTR": 1}


@versions
def test_guest_begins_a_mount_with_nothing_cached(version: str, reports: dict[str, Any]) -> None:
    assert reports[f"{version} known"] == {}
    assert reports[f"{version} cold"]["LOOKUP"] == 1


@versions
def test_guest_delays_each_way(version: str, reports: dict[str, Any]) -> None:
    without, delayed = (reports[f"{version} {name} delay"] for name in ("without", "with"))
    assert without < 0.02 <= delayed


@versions
def test_guest_restarts_its_server_under_a_mount(version: str, reports: dict[str, Any]) -> None:
    assert reports[f"{version} mode after restart"] == 0o604


@versions
def test_guest_has_another_client(version: str, reports: dict[str, Any]) -> None:
    assert reports[f"{version} gone"] == "ESTALE"


@pytest.mark.parametrize(
    ("option", "error"), [("ro", "EROFS"), ("root_squash", "EPERM"), ("soft", "EIO")]
)
def test_guest_takes_options_of_exports_and_mounts(
    option: str, error: str, reports: dict[str, Any]
) -> None:
    assert reports[option] == error


def test_guest_raises_what_its_program_raises(guest: Guest) -> None:
    result = guest(bed.raises)
    assert result.status == 1
    assert "RuntimeError: on purpose" in result.err


@pytest.mark.usefixtures("guest")
def test_guest_is_killed_when_it_hangs(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        leaving_nothing(tmp_path_factory.mktemp("left")),
        pytest.raises(GuestDied, match="not done after 4 s"),
    ):
        run_guest(bed.hangs, tmp_path, timeout=4)


@pytest.mark.usefixtures("guest")
def test_guest_shows_its_console_when_it_panics(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with leaving_nothing(tmp_path_factory.mktemp("left")), pytest.raises(GuestDied) as died:
        run_guest(bed.panics, tmp_path)
    assert "no exit status" in str(died.value)
    assert "Kernel panic - not syncing: sysrq triggered crash" in str(died.value)
    assert "last words" in str(died.value)


@pytest.mark.usefixtures("guest")
def test_guest_dies_with_who_started_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    left = tmp_path_factory.mktemp("left")
    program = "import sys, pathlib; from tests.nfs import guest; "
    program += "from tests.nfs.guest_programs import bed; "
    program += "guest.run_guest(bed.hangs, pathlib.Path(sys.argv[1]))"
    starter = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(left)},
    )
    try:
        _wait((tmp_path / "started").exists)
        assert processes(left)
    finally:
        starter.kill()
        starter.wait()
    _wait(lambda: not processes(left))


def test_program_gives_a_share_to_a_group_over_nfs(guest: Guest) -> None:
    result = guest(bed.perms, 300)
    assert result.status == 0, result.err
    for version, a_directory in (("3", 3), ("4.2", 4)):
        for command, floor in (("perms", (2, a_directory)), ("verify", (0, 3))):
            status, out, err = result.reports[f"{version} {command}"]
            assert status == 0, err
            summary = json.loads(out.splitlines()[-1])
            entries, directories = summary["entries"], summary["directories"]
            made = result.reports[f"{version} {command} calls"]
            each = {operation: round(count / entries, 2) for operation, count in made.items()}
            figures = f"{entries} entries, {directories} directories, calls an entry: {each}"
            print(f"v{version} {command}: {figures}")  # noqa: T201 -- for those who say -s
            allowed = floor[0] * entries + floor[1] * directories + 0.1 * entries
            assert sum(made.values()) <= allowed, (version, command, made)
            assert made.get("SETATTR", 0) == floor[0] * entries


@pytest.mark.parametrize(
    ("ci", "end"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_missing_package_is_a_skip_but_a_failure_in_ci(
    ci: str, end: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MISSING", set())
    monkeypatch.setenv("CI", ci)
    with pytest.raises(end, match=r"apt-get install --no-install-recommends missing-1 missing-2$"):
        packages.require({"missing-2": "/no/*/file", "there": "sh", "missing-1": "no-program"})
