"""The benchmarks, on tiny trees: turns are checked, who leaves something wrong is marked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.testshare import Layout
from benchmarks import __main__ as program
from benchmarks import beside, contest, growth, places, report, results
from benchmarks.commands import TRIPLE
from benchmarks.contestants import CONTESTANTS, Contestant

PART = contest.Part(places.HERE, Layout.FILED, 20)
pytestmark = pytest.mark.privileged


def test_every_contestant_that_is_installed_does_the_whole_job(tmp_path: Path) -> None:
    found = contest.compete(PART, 1, tmp_path)
    present = {name for name, one in CONTESTANTS.items() if not one.absent}
    assert set(found["contestants"]) == present
    assert set(found["absent"]) == set(CONTESTANTS) - present
    verdicts = {name: report.verdict(one) for name, one in found["contestants"].items()}
    assert verdicts == dict.fromkeys(verdicts, "")
    assert {one["entries"] for one in found["contestants"].values()} == {found["entries"]}


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("chgrp -R {gid} {share}; chmod -R g+rw {share}", "directories"),
        ("true", "all"),
        (TRIPLE + "; exit 3", "status"),
    ],
)
def test_contestant_that_does_it_wrong_is_marked_and_has_no_time(
    words: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Contestant("bad", ("sh", "-c", words), 1)
    monkeypatch.setitem(CONTESTANTS, "triple", bad)
    found = contest.compete(PART, 1, tmp_path, chosen=["native", "triple"])
    directories = sum(one.is_dir() for one in tmp_path.rglob("*"))
    assert directories == 0, "the tree was not removed"
    taken = found["contestants"]["triple"]
    (run,) = taken["runs"]
    assert run["status"] == (3 if wrong == "status" else 0)
    assert (run["wrong"] == found["entries"]) == (wrong == "all")
    assert (run["wrong"] == 0) == (wrong == "status")
    results.save("contest", "bad", found, tmp_path)
    (line,) = (line for line in report.page(tmp_path).splitlines() if line.startswith("| bad "))
    assert "**wrong**" in line
    assert " / " not in line


def test_contestant_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = replace(CONTESTANTS["bfs"], needs=("no-such-program",))
    monkeypatch.setitem(CONTESTANTS, "bfs", gone)
    found = contest.compete(PART, 1, tmp_path, chosen=["native", "bfs"])
    assert found["absent"] == ["bfs"]
    results.save("contest", "gone", found, tmp_path)
    assert "absent: `apt-get install bfs`" in report.page(tmp_path)


def test_slow_contestant_gets_a_small_tree_and_is_marked(tmp_path: Path) -> None:
    part = replace(PART, objects=600, patience=1.0)
    found = contest.compete(part, 1, tmp_path, chosen=["native", "trio"])
    few = found["contestants"]["trio"]["entries"]
    assert part.objects_for(CONTESTANTS["trio"]) == part.objects or few < found["entries"]


def test_turns_of_a_second_call_are_added(tmp_path: Path) -> None:
    first = contest.compete(PART, 1, tmp_path, chosen=["limit"])
    both = contest.compete(PART, 2, tmp_path, first, chosen=["native", "limit"])
    runs = {name: len(one["runs"]) for name, one in both["contestants"].items()}
    assert runs == {"native": 2, "limit": 3}


def test_compliant_share_is_left_compliant(tmp_path: Path) -> None:
    part = replace(PART, state=contest.COMPLIANT)
    found = contest.compete(part, 1, tmp_path, chosen=["native", "triple"])
    assert not any(map(report.verdict, found["contestants"].values()))


def test_growth_kills_and_resumes(tmp_path: Path) -> None:
    found = growth.measure(300, tmp_path)
    assert found["wrong"] == 0
    assert found["journal"] > 0
    assert found["entries"] > found["objects"]


def test_load_beside_a_run_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "WINDOW", 60.0)  # until the run ends
    monkeypatch.setattr(beside, "ALONE_FOR", 0.2)
    monkeypatch.setattr(beside, "FILESYSTEM", places.HERE)
    monkeypatch.setattr(places, "drop_caches", lambda: None)  # would slow other tests
    found = beside.measure(beside.DISK_PLACE, 1, tmp_path, objects=20)
    for name, (one,) in found["runs"].items():
        assert one["p50"] <= one["p99"] <= one["max"]
        assert ("scanned" in one) == (name not in (beside.ALONE, "triple"))


def test_program_says_how_long_it_takes_and_names_unknown_parts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(["--list", "growth-10k", "ext4-filed-50k"]) == 0
    said = capsys.readouterr().out
    assert "growth-10k" in said
    assert "ext4-filed-50k-changing-warm" in said
    assert "minutes" in said
    assert program.main(["--list", "nonsense"]) == 2


def test_document_is_what_the_results_make() -> None:
    assert report.PAGE.read_text(encoding="utf-8") == report.page(), (
        "run python -m benchmarks.report"
    )


def test_results_hold_machine_and_versions() -> None:
    files = list(results.RESULTS.rglob("*.json"))
    assert files
    for path in files:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert {"machine", "versions", "part"} <= set(found), path
