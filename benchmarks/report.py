"""Makes docs/benchmarks.md, and its pictures, of benchmarks/results: python -m benchmarks.report.

All figures are from the results. Without matplotlib (archipmigrate[plot]) the pictures stay as
they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from . import results
from .beside import ALONE, RUNS
from .contestants import CONTESTANTS

DOCS = results.RESULTS.parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
BASE, DIRECT = "native", "direct, 256 in flight"
INTRODUCTION = """\
# Benchmarks

Made by `python -m benchmarks.report` from `benchmarks/results/`: do not edit. `make bench` measures
all of it on your machine, and says first how long that takes; `make bench BENCH='ext4-filed-50k
growth'` measures a part.

"""
CONTEST = """\
## The whole job, by everybody

Contestants take turns on the same tree. Before each turn it is put back: every directory 0700,
every file 0600, the group 0. Afterwards each entry is compared with what the guide's commands
leave. Who fails, or leaves an entry as it should not be, is **wrong**, and has no time.

Each cell is the time of the contestant divided by that of `archipmigrate perms`, native: wall /
CPU, the median of the turns. Above 1 is slower. archipmigrate alone has a journal, which is
synced to the machine's disk.

*p*: too slow for the whole tree; its time an entry on a small one of the same layout is compared.
"""
GROWTH = """\
## Growth

In memory, filed layout, the journal on the disk. *resumed*: killed by SIGKILL when half of the time
was over, and run again; both together, divided by the time of a run that is not killed.

| objects | entries | s | entries/s | CPU us/entry | MiB | journal bytes/entry | resumed | wrong |
|---|---|---|---|---|---|---|---|---|
"""
NFS = """\
## On NFS

The kernel's server and client in a User-Mode Linux guest of one slow CPU, filed layout, cold cache;
each on a share of its own, fewer entries for those that wait for each call. Entries a second,
divided by those of `perms` directly with 256 calls in flight: below 1 is slower.

"""
BESIDE = """\
## A share in use

A VM-like load (`benchmarks/load.c`: 4 KiB at a random place, durable, one after another) on the
same disk, or the same server, as the run: what it gets done, and how long a write takes, divided by
the same load alone. Medians; two cores are shared by the load, the run, and the server. Of a run,
scanning an entry is an operation, and changing it two more, as `--max-ops` counts them.
"""
WHERE = {
    "disk": "Local disk (ext4 in an image on the machine's disk)",
    "ganesha": "nfs-ganesha, share and VM disk in one export; the run by NFSv4, the load by NFSv3",
}
LABELS = {
    ALONE: "the load alone",
    "full": "full speed",
    "adaptive": "adaptive calls (the default)",
    "jobs-1": "`--jobs 1`",
    "jobs-16": "`--jobs 16`",
    "max-ops-20000": "`--max-ops 20000`",
    "max-ops-5000": "`--max-ops 5000`",
    "max-ops-2000": "`--max-ops 2000`",
    "triple": "`chgrp -R; chmod -R; find`",
}


def page(folder: Path = results.RESULTS) -> str:
    """Return the document that these results make."""
    text = INTRODUCTION + _machines(folder)
    if parts := list(results.saved("contest", folder)):
        text += "\n" + CONTEST + "\n" + "".join(_contests(parts))
        text += "".join(f"\n{note}\n" for note in _notes(parts))
        text += "\n![Time of each contestant, by what it runs on](benchmarks.svg)\n"
    if parts := list(results.saved("nfs", folder)):
        text += "\n" + NFS + "".join(_nfs(parts))
    if parts := sorted(results.saved("growth", folder), key=lambda part: part["objects"]):
        text += "\n" + GROWTH + "".join(map(_growth, parts))
        text += "\n![Time, memory, journal and resuming by size](growth.svg)\n"
    if parts := list(results.saved("beside", folder)):
        text += "\n" + BESIDE + "".join(map(_beside, parts))
        text += "\n![What a run costs the load beside it](beside.svg)\n"
    return text


def verdict(contestant: Mapping[str, Any]) -> str:
    """Return what is wrong with what a contestant left; nothing if all its turns were right."""
    runs = contestant["runs"]
    if wrong := max(run["wrong"] for run in runs):
        return f"{wrong:,} of {contestant['entries']:,} entries"
    return next((f"exit status {run['status']}" for run in runs if run["status"]), "")


def microseconds(contestant: Mapping[str, Any], what: str) -> float:
    """Return the median of the `wall` or `cpu` time an entry."""
    taken = median(run[what] for run in contestant["runs"])
    return float(taken / contestant["entries"] * 1e6)


def _machines(folder: Path) -> str:
    """Name the machines and versions; usually there is one of each."""
    kinds = ("contest", "nfs", "growth", "beside")
    parts = [part for kind in kinds for part in results.saved(kind, folder)]
    machines = {
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}"
        for m in (part["machine"] for part in parts)
    }
    versions: dict[str, set[str]] = {}
    for part in parts:
        for program, version in part["versions"].items():
            versions.setdefault(program, set()).add(version)
    named = (f"{name} {' and '.join(sorted(those))}" for name, those in versions.items())
    return f"Measured on: {'; '.join(sorted(machines))}. Versions: {', '.join(named)}.\n"


def _contests(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a table for each state and cache: a column for each share, a row for each contestant."""
    kinds = dict.fromkeys((part["state"], part["cache"]) for part in parts)
    for state, cache in sorted(kinds):
        columns = [part for part in parts if (part["state"], part["cache"]) == (state, cache)]
        does = "Everything changes" if state == "changing" else "Everything complies already"
        yield f"\n### {does}, {cache} cache\n\n"
        heads = (f"{p['filesystem']}, {p['layout']}, {p['entries']:,} entries" for p in columns)
        yield f"| | {' | '.join(heads)} |\n|---|{'---|' * len(columns)}\n"
        turns = (str(len(part["contestants"][BASE]["runs"])) for part in columns)
        yield f"| turns | {' | '.join(turns)} |\n"
        busy = (str(part.get("load_average", "not kept")) for part in columns)
        yield f"| load average before | {' | '.join(busy)} |\n"
        for name, contestant in CONTESTANTS.items():
            cells = (_cell(name, part) for part in columns)
            yield f"| {contestant.label} | {' | '.join(cells)} |\n"


def _notes(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say why those who leave something wrong do."""
    for name, contestant in CONTESTANTS.items():
        found = (part["contestants"].get(name) for part in parts)
        if contestant.note and any(one and verdict(one) for one in found):
            yield contestant.note


def _cell(name: str, part: Mapping[str, Any]) -> str:
    found = part["contestants"].get(name)
    if found is None:
        return f"absent: `{CONTESTANTS[name].package}`" if name in part["absent"] else "not run"
    if wrong := verdict(found):
        return f"**wrong**: {wrong}"
    base = part["contestants"][BASE]
    if name == BASE:
        wall, cpu = (median(run[what] for run in found["runs"]) for what in ("wall", "cpu"))
        return f"1 / 1 ({wall:.2f} / {cpu:.2f} s)"
    wall, cpu = (microseconds(found, what) / microseconds(base, what) for what in ("wall", "cpu"))
    return f"{_ratio(wall)} / {_ratio(cpu)}{' *p*' if found['entries'] < part['entries'] else ''}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def _nfs(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Give a table: a column for each version and round trip."""
    heads = (f"v{p['version']}, {1000 * p['round_trip']:.0f} ms" for p in parts)
    yield f"| | {' | '.join(heads)} |\n|---|{'---|' * len(parts)}\n"
    for name in dict.fromkeys(name for part in parts for name in part["contestants"]):
        label = CONTESTANTS[name].label if name in CONTESTANTS else f"`perms`, {name}"
        cells = (_rate(part["contestants"], name) for part in parts)
        yield f"| {label} | {' | '.join(cells)} |\n"


def _rate(found: Mapping[str, Any], name: str) -> str:
    if (seen := found.get(name)) is None:
        return "not run"
    if seen["left"]:
        return f"**wrong**: {seen['left']:,} of {seen['entries']:,} entries"
    rate, base = (one["entries"] / one["seconds"] for one in (seen, found[DIRECT]))
    return f"1 ({rate:,.0f} entries/s)" if name == DIRECT else f"{rate / base:.3f}"


def resumed(part: Mapping[str, Any]) -> float:
    """Return how long a run takes that is killed and resumed, of one that is not."""
    return float((part["killed_after"] + part["resumed_in"]) / part["seconds"])


def _growth(part: Mapping[str, Any]) -> str:
    entries, took = part["entries"], part["seconds"]
    return (
        f"| {part['objects']:,} | {entries:,} | {took:.1f} | {entries / took:,.0f} "
        f"| {part['cpu'] / entries * 1e6:.1f} | {max(part['kib'], part['resumed_kib']) >> 10} "
        f"| {part['journal'] / entries:.1f} | {resumed(part):.2f} | {part['wrong']} |\n"
    )


def loads(part: Mapping[str, Any], what: str) -> dict[str, float]:
    """Return a figure of the load beside each run, divided by that of the load alone."""
    found = {name: median(run[what] for run in runs) for name, runs in part["runs"].items()}
    return {name: value / found[ALONE] for name, value in found.items()}


def _beside(part: Mapping[str, Any]) -> str:
    heads = ("ops_a_second", "p50", "p99", "p99.9")
    ratios = {what: loads(part, what) for what in heads}
    lines = [f"\n{WHERE[part['place']]}, {part['entries']:,} entries:\n"]
    lines.append("| beside the load | load, ops/s | p50 | p99 | p99.9 | run, ops/s |")
    lines.append("|---|---|---|---|---|---|")
    for name in (ALONE, *RUNS[part["place"]]):
        runs = part["runs"][name]
        rates = [run["run_ops_a_second"] for run in runs if "run_ops_a_second" in run]
        if name == ALONE:
            figures = [f"{median(run['ops_a_second'] for run in runs):,.0f}"]
            figures += [f"{median(run[what] for run in runs):,.0f} us" for what in heads[1:]]
        else:
            figures = [_ratio(ratios[what][name]) for what in heads]
        figures.append(f"{median(rates):,.0f}" if rates else "")
        lines.append(f"| {LABELS[name]} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the document, and draw the pictures."""
    PAGE.write_text(page(), encoding="utf-8")
    try:
        from . import pictures  # noqa: PLC0415 -- of an extra
    except ImportError as error:
        print(f"no pictures: {error}; they need archipmigrate[plot]", file=sys.stderr)
    else:
        pictures.draw(results.RESULTS, DOCS)


if __name__ == "__main__":
    main()
