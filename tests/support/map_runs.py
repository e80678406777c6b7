"""Arguments of `archipmigrate mapfiles` in tests, and its results by volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.support.program import Ended

FINE = {"upgraded", "current", "would-upgrade"}
RESULTS = ("upgraded", "current", "invalid", "shadowed", "conflict", "leftover", "locked",
           "misplaced", "failed")  # fmt: skip


def arguments(
    maps: Path, *, locks: Path | None = None, sizes: Mapping[str, int] | None = None
) -> list[object]:
    """Return the arguments of a run over *maps*; *sizes* are those of v0 maps, by name."""
    words: list[object] = ["mapfiles", "--json", "--maps", maps]
    if locks:
        words += ["--locks", locks]
    if sizes:
        table = maps.parent / "sizes.csv"
        rows = [f"{name},{size}\n" for name, size in sizes.items()]
        table.write_text("mapfile,size\n" + "".join(rows))
        words += ["--sizes", table]
    return words


def lines(ended: Ended, kind: str) -> list[dict[str, Any]]:
    """Return the JSON lines of a type."""
    return [line for line in ended.objects if line["type"] == kind]


def results(ended: Ended) -> dict[str, str]:
    """Return the result of each volume, and check that each has one line."""
    found = lines(ended, "volume")
    named = {line["volume"]: line["result"] for line in found}
    assert len(named) == len(found)
    return named


def foreign(ended: Ended) -> list[str]:
    """Return the names of foreign files."""
    return sorted(Path(line["path"]).name for line in lines(ended, "file"))


def check_summary(ended: Ended) -> None:
    """Check that a run's status and sums are those of its lines."""
    assert ended.objects[0]["type"] == "version", ended.err
    summary, found = ended.summary, results(ended)
    assert (summary["type"], summary["job"]) == ("summary", "mapfiles")
    counts = Counter(found.values())
    if not counts["would-upgrade"]:
        assert {name: summary[name] for name in RESULTS} == {n: counts[n] for n in RESULTS}
    assert ended.status == (0 if set(counts) <= FINE else 3), ended.err
    assert summary["status"] == ("failures" if ended.status else "done")


def finished(ended: Ended, volumes: Iterable[str]) -> None:
    """Check that a run succeeded, and that *volumes* are all of its volumes and v2 now."""
    assert ended.status == 0, ended.out + ended.err
    found = results(ended)
    assert set(found) == set(volumes)
    assert set(found.values()) <= {"upgraded", "current"}
    assert ended.summary["status"] == "done"
