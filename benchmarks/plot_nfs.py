"""Draw what bench_nfs measured: python -m benchmarks.plot_nfs nfs.json docs/nfs.svg."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "archipmigrate"  # the same picture for the same figures
mpl.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot as plt  # noqa: E402

from .nfs_programs import IN_FLIGHT  # noqa: E402

COLOURS = {"v3": "#c2553a", "v4": "#2f6f9f"}
STYLES = {0.0: "-", 0.0014: "--", 0.0055: ":"}
BARS = {
    "triple": "chgrp -R; chmod -R; find",
    "find-plus": "four find -exec +",
    "scandir": "os.scandir loop (unsafe)",
}


def main(source: str, picture: str) -> None:
    """Read pytest-benchmark's JSON, write an SVG."""
    found = [b["extra_info"] for b in json.loads(Path(source).read_text())["benchmarks"]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    _depths(left, [f for f in found if f["what"].startswith("ganesha")])
    kernel = (f for f in found if f["what"] == "the kernel's server, v3" and f["round trip"])
    direct4 = (f for f in found if f["what"] == "the kernel's server, v4.2" and f["round trip"])
    _contestants(right, next(kernel), next(direct4))
    figure.savefig(picture, metadata={"Date": None})


def _depths(axes: Any, found: list[dict[str, Any]]) -> None:
    """Plot entries a second over calls in flight."""
    for one in found:
        version = one["what"].rpartition(" ")[2]
        rates = [one[f"direct, {calls} in flight"] for calls in IN_FLIGHT]
        label = f"{version}, {1000 * one['round trip']:.1f} ms"
        style = {"color": COLOURS[version], "linestyle": STYLES[one["round trip"]]}
        axes.plot(IN_FLIGHT, rates, marker="o", label=label, **style)
    axes.set(xscale="log", yscale="log", xlabel="calls in flight", ylabel="entries/s")
    axes.set_xticks(IN_FLIGHT, [str(calls) for calls in IN_FLIGHT])
    axes.set_title("directly, nfs-ganesha, by version and round trip")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize="small")


def _contestants(axes: Any, three: dict[str, Any], four: dict[str, Any]) -> None:
    """Plot who does how many entries a second at 5 ms."""
    bars = [(label, three[name], "#8a8a8a") for name, label in BARS.items()]
    bars += [(name, three[name], "#5f8f5f") for name in three if name.startswith("mount")]
    for version, found in (("v3", three), ("v4", four)):
        for calls in (16, 256):
            rate = found[f"direct, {calls} in flight"]
            bars.append((f"{version} directly, {calls} in flight", rate, COLOURS[version]))
    labels, rates, colours = zip(*reversed(bars), strict=True)
    drawn = axes.barh(labels, rates, color=colours)
    axes.bar_label(drawn, [f" {rate:,.0f}" for rate in rates], fontsize="small")
    axes.set(xscale="log", xlabel="entries/s", xlim=(5, 40_000))
    axes.set_title("the kernel's server in a guest, 5 ms round trip")


if __name__ == "__main__":
    main(*sys.argv[1:])
