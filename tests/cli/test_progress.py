"""What the progress line says, and how it fits; what a walk knows of the next one."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest

from archipmigrate.engine.job import Counters
from archipmigrate.model import Tally
from archipmigrate.session.extent import keep_extent, read_extent
from archipmigrate.ui.printer import wants_color
from archipmigrate.ui.progress import Pace, Subject, status_object, terminal_line
from tests.support.inprocess import Program
from tests.support.program import GID

PERMS = Subject("perms")


@pytest.fixture
def backend() -> str:
    """One is enough."""
    return "python"


def counters(entries: int, **more: object) -> Counters:
    tally = Tally(entries=entries, changed=entries - 4_000, compliant=4_000)
    return Counters(tally, lanes=2, busy=2, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (120, "perms 41% 194k/473k 28k/s ETA 9s failed 0 changed 190k lanes 2/2 7s"),
        (68, "perms 41% 194k/473k 28k/s ETA 9s failed 0 changed 190k lanes 2/2 7s"),
        (66, "perms 41% 194k/473k 28k/s ETA 9s failed 0 changed 190k lanes 2/2"),
        (60, "perms 41% 194k/473k 28k/s ETA 9s failed 0 changed 190k"),
        (42, "perms 41% 194k/473k 28k/s ETA 9s failed 0"),
        (40, "perms 41% 194k/473k 28k/s failed 0"),
        (30, "perms 41% 194k/473k failed 0"),
        (25, "perms 194k/473k failed 0"),
        (8, "perms"),
        (3, "per"),
    ],
)
def test_line_fits_and_what_matters_least_goes_first(width: int, line: str) -> None:
    assert terminal_line(PERMS, counters(194_000, expected=473_000), 28_000, 7, width) == line


def test_line_guesses_nothing() -> None:
    line = terminal_line(PERMS, counters(194_000), 28_000, 200, 120)
    assert line == "perms 194k 28k/s failed 0 changed 190k lanes 2/2 3m20s"
    # More than the last time: that says nothing of what is left.
    line = terminal_line(PERMS, counters(194_000, expected=193_999), 28_000, 200, 120)
    assert line.startswith("perms 194k 28k/s failed 0")
    line = terminal_line(PERMS, counters(9_400, at_most=1_234_567), 0, 7_500, 120)
    assert line == "perms 9.4k/at most 1.2M 0/s failed 0 changed 5.4k lanes 2/2 2h05m"


def test_line_of_volumes_names_phase_and_volumes() -> None:
    volumes = Counters(Tally(entries=9, changed=12, compliant=3), phase="settling", total=540)
    line = terminal_line(Subject("mapfiles", "volume", "upgraded"), volumes, 10, 400_000, 120)
    assert line == (
        "mapfiles settling 2% volumes 15/540 10/s ETA 52s failed 0 upgraded 12 lanes 0/0 4d15h"
    )


def test_rate_is_of_this_session_and_of_the_last_seconds() -> None:
    pace = Pace(5.0)
    resumed = counters(1_000_000, earlier=1_000_000)
    assert pace.rate(100.0, resumed) == 0
    resumed.tally.entries += 500
    assert pace.rate(101.0, resumed) == 500
    for second in range(102, 110):
        resumed.tally.entries += 10
        rate = pace.rate(float(second), resumed)
    assert rate == 10


@pytest.mark.privileged
def test_walk_keeps_how_many_entries_there_are(program: Program, share: Path) -> None:
    (share / "file").touch()
    program.perms(share, "-n")
    (extent,) = program.state.glob("*.extent")
    assert extent.read_text() == "2\n"
    (share / "more").touch()
    program.verify(share)
    assert extent.read_text() == "3\n"


def test_extent_that_is_no_number_is_not_known(tmp_path: Path) -> None:
    keep_extent(tmp_path, "uuid:a", 7)
    assert read_extent(tmp_path, "uuid:a") == 7
    assert read_extent(tmp_path, "uuid:b") is None
    (file,) = os.listdir(tmp_path)
    (tmp_path / file).write_bytes(b"\xff" * 100)
    assert read_extent(tmp_path, "uuid:a") is None
    keep_extent(tmp_path / "missing", "uuid:a", 7)  # and no error


def test_status_object_says_what_is_left_and_null_for_what_is_not_known() -> None:
    known = status_object(counters(194_000, expected=473_000), 28_000, 7)
    assert (known["type"], known["entries"], known["total"]) == ("status", 194_000, 473_000)
    assert (known["rate"], known["eta"], known["failed"]) == (28_000, 10, 0)
    unknown = status_object(counters(194_000, at_most=500_000), 28_000, 7)
    assert (unknown["total"], unknown["eta"], unknown["at_most"]) == (None, None, 500_000)
    still = status_object(counters(194_000, expected=473_000), 0, 7)
    assert (still["total"], still["eta"]) == (473_000, None)
    volumes = Counters(Tally(entries=9, changed=12, compliant=3), phase="settling", total=540)
    done = status_object(volumes, 10, 7)
    assert (done["entries"], done["total"], done["phase"]) == (15, 540, "settling")


@pytest.mark.privileged
def test_status_objects_come_with_json_only(program: Program, share: Path) -> None:
    ended = program.perms(share, "-n", "--progress-every", 5)
    assert [line["type"] for line in ended.objects] == ["version", "status", "summary"]
    assert "status" not in {line["type"] for line in program.perms(share, "-n").objects}
    assert program("perms", "-n", "--group", GID, "--progress-every", 0, share).status == 2


@pytest.mark.parametrize(
    ("choice", "variable", "is_painted"),
    [
        ("auto", {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, True),
        ("auto", {"TERM": "dumb"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {}, False),
    ],
)
def test_color_is_for_terminals_and_those_who_want_it(
    choice: str, variable: dict[str, str], is_painted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variable.items():
        monkeypatch.setenv(name, value)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    assert wants_color(choice, terminal) == is_painted
    assert wants_color(choice, io.StringIO()) == (choice == "always")


@pytest.mark.privileged
def test_colored_output_says_the_same(program: Program, share: Path) -> None:
    (share / "file").touch(mode=0o600)
    plain = program("verify", "--group", GID, share).out
    painted = program("verify", "--group", GID, "--color", "always", share).out
    assert painted.startswith("\x1b[33mverify ")
    drift = re.compile(r"after [0-9.]+ s|\x1b\[\d*m")
    assert drift.sub("", painted) == drift.sub("", plain)
    assert "\x1b" not in program("verify", "--group", GID, "--json", "--color", "always", share).out
