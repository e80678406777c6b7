"""Standard streams, which whoever starts a program may have closed. Imports nothing heavy."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Open /dev/null as each of descriptors 0 to 2 that is closed, and the streams of Python too.

    To be called before anything else is opened. A file gets the lowest free number: as 2, a journal
    would receive what is printed to standard error, and as 0, the share's directory would not reach
    worker processes, whose standard input is another one.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # All lower numbers are open.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 -- as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
