"""Compile the C files of tests/preload, each once: libraries for LD_PRELOAD, and programs.

The results stay in build/tests below the checkout and are named after what they are made from, so
that neither a test nor the next session compiles them again. `make clean` removes them.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.support.program import need

CHECKOUT = Path(__file__).parents[2]
SOURCES = CHECKOUT / "tests" / "preload"
BUILT = CHECKOUT / "build" / "tests"
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")


def library(name: str) -> Path:
    """Return NAME.c as a library to preload."""
    return _compiled(name, "-shared", "-fPIC", "-ldl")


def program(name: str) -> Path:
    """Return NAME.c as a program."""
    return _compiled(name)


@cache
def _compiled(name: str, *more: str) -> Path:
    source = SOURCES / f"{name}.c"
    digest = hashlib.sha256(source.read_bytes() + " ".join((*FLAGS, *more)).encode())
    target = BUILT / f"{name}-{digest.hexdigest()[:16]}"
    if not target.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        # Several workers of pytest-xdist may compile it: a rename replaces a whole file by another.
        with tempfile.TemporaryDirectory(dir=BUILT) as directory:
            made = Path(directory) / name
            subprocess.run([need("gcc"), *FLAGS, "-o", made, source, *more], check=True)
            os.rename(made, target)
    return target
