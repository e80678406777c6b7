"""Draws docs/benchmarks.svg, growth.svg and beside.svg of benchmarks/results: see report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "archipmigrate"  # the same picture for the same figures
mpl.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot as plt  # noqa: E402

from . import report, results  # noqa: E402
from .beside import ALONE  # noqa: E402

OURS, OTHERS, WRONG = "#2f6f9f", "#8a8a8a", "#c2553a"
SHOWN = "changing", "warm"


def draw(folder: Path, docs: Path) -> None:
    """Write the pictures of those kinds that were measured."""
    kinds = {"contest": _contests, "growth": _growth, "beside": _beside}
    names = {"contest": "benchmarks.svg", "growth": "growth.svg", "beside": "beside.svg"}
    for kind, plot in kinds.items():
        if parts := list(results.saved(kind, folder)):
            figure = plot(parts)
            figure.savefig(docs / names[kind], metadata={"Date": None})
            plt.close(figure)


def _contests(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Draw microseconds an entry, of those that left all right."""
    shown = [part for part in parts if (part["state"], part["cache"]) == SHOWN]
    figure, rows = plt.subplots(
        1, len(shown), figsize=(3 + 2.6 * len(shown), 4.5), layout="constrained", squeeze=False
    )
    for axes, part in zip(rows[0], shown, strict=True):
        found = dict(reversed(part["contestants"].items()))
        times = [report.microseconds(one, "wall") for one in found.values()]
        colours = [
            WRONG if report.verdict(one) else OURS if name in ("native", "python") else OTHERS
            for name, one in found.items()
        ]
        drawn = axes.barh(list(found), times, color=colours)
        labels = [
            " wrong" if report.verdict(one) else f" {time:,.0f}"
            for one, time in zip(found.values(), times, strict=True)
        ]
        axes.bar_label(drawn, labels, fontsize="small")
        axes.set(xscale="log", xlabel="us an entry", xlim=(1, 20_000))
        axes.set_title(f"{part['filesystem']}, {part['layout']}, {part['entries']:,}", fontsize=9)
        if axes is not rows[0][0]:
            axes.set_yticklabels([])
    return figure


def _growth(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Draw what a run takes over the entries."""
    parts = sorted(parts, key=lambda part: part["entries"])
    entries = [part["entries"] for part in parts]
    curves = {
        "seconds": [part["seconds"] for part in parts],
        "killed and resumed, seconds": [p["killed_after"] + p["resumed_in"] for p in parts],
        "memory, MiB": [part["kib"] / 1024 for part in parts],
        "journal, MB": [part["journal"] / 1e6 for part in parts],
    }
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for label, values in curves.items():
        axes.plot(entries, values, marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="entries")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def _beside(parts: Sequence[Mapping[str, Any]]) -> Any:
    """Draw what is left of the load's operations, and how much later its writes end."""
    figure, rows = plt.subplots(
        1, len(parts), figsize=(5.5 * len(parts), 3.6), layout="constrained", squeeze=False
    )
    for axes, part in zip(rows[0], parts, strict=True):
        figures = {what: report.loads(part, what) for what in ("ops_a_second", "p50", "p99")}
        names = [name for name in part["runs"] if name != ALONE]
        for number, (what, ratios) in enumerate(figures.items()):
            at = [row + 0.27 * (number - 1) for row in range(len(names))]
            bars = axes.barh(at, [ratios[name] for name in names], 0.25, label=what)
            axes.bar_label(bars, fmt=" %.2f", fontsize="x-small")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set(xscale="log", xlabel="of the load alone")
        axes.set_title(part["place"])
        axes.legend(["ops/s", "p50", "p99"], fontsize="small")
    return figure
