"""Runs an attacker beside the program."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def attacked(command: Sequence[str | Path]) -> Iterator[None]:
    """Run an attacker meanwhile, which prints "begun" when it has; it must go on to the end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "begun\n"
        yield
        assert process.poll() is None, "the attacker could not go on"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
