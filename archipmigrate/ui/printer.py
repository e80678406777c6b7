"""The only way to stdout and stderr: lines that no terminal obeys, whatever names are in them.

Shares, runs, options, configurations and locks are called as others like. What they are called is
escaped here, once, not wherever a message is worded.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from .text import printable

# SGR parameters of ECMA-48.
GREEN, YELLOW, RED = "32", "33", "31"
# What a session's line is painted in, by its status; it says the status in words as well.
STATUS_COLORS = {
    "done": GREEN,
    "ok": GREEN,
    "drift": YELLOW,
    "warning": YELLOW,
    "interrupted": YELLOW,
}


def print_line(text: str, stream: TextIO | None = None, color: str = "") -> None:
    """Print one line to *stream* (None: stdout); what cannot be printed is escaped, as `ls -b`.

    So are line feeds: no name can add a line of its own. *color* is for all of it ("": none).
    """
    stream = stream or sys.stdout
    line = printable(text)
    if color:
        line = f"\x1b[{color}m{line}\x1b[0m"
    print(line, file=stream, flush=stream is sys.stderr)


def wants_color(choice: str, stream: TextIO) -> bool:
    """Say whether lines on *stream* are painted: *choice* is auto, always or never.

    Auto paints on a terminal that can, unless NO_COLOR is set (https://no-color.org).
    """
    if choice != "auto":
        return choice == "always"
    can = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return can and not os.environ.get("NO_COLOR")
