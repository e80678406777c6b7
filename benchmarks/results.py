"""What was measured, as JSON: a file for each part, with the machine and the versions.

benchmarks/results/KIND/PART.json
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from archipmigrate import __version__

from .contestants import CONTESTANTS, cores

RESULTS = Path(__file__).with_name("results")
VERSION = re.compile(r"(\d+(?:\.\d+)+)")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": cores(),
        "memory_gib": round(memory / (1 << 30)),
        "kernel": platform.release().partition("-")[0],
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of the contestants' programs, of Python and of this project."""
    found = {"archipmigrate": __version__, "python": platform.python_version()}
    if commit := _said("git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"):
        found["commit"] = commit.strip()
    for name in ("find", "chgrp", "xargs"):
        found[name] = _version(name)
    for name, contestant in CONTESTANTS.items():
        if contestant.needs and (program := contestant.program()):
            found["gcc" if "gcc" in contestant.needs else name] = _version(program)
    return found


def save(kind: str, part: str, measured: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write what one part measured, with the machine and the versions."""
    path = folder / kind / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"part": part, "machine": machine(), "versions": versions(), **measured}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return path


def load(kind: str, part: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """Return what was measured of a part, if it was."""
    path = folder / kind / f"{part}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def saved(kind: str, folder: Path = RESULTS) -> Iterator[dict[str, Any]]:
    """Return all parts of a kind, in the order of their names."""
    for path in sorted((folder / kind).glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _version(program: str) -> str:
    found = VERSION.search(_said(program, "--version"))
    return found[1] if found else "unknown"


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        print(error, file=sys.stderr)
        return ""
