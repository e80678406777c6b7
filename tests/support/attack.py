"""Runs an attacker beside the program."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Exchanges pairs of names below a directory without pause, as nobody.
# Its arguments are the directory and the names; RENAME_EXCHANGE is 2.
EXCHANGER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
pairs = [os.fsencode(word) for word in sys.argv[2:]]
libc = ctypes.CDLL(None)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
begun = False
while True:
    for a, b in zip(pairs[::2], pairs[1::2]):
        if libc.renameat2(-100, a, -100, b, 2):
            sys.exit("it cannot go on")
    if not begun:
        begun = True
        print("begun", flush=True)
"""


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
