"""The only way to stdout and stderr: lines that no terminal obeys, whatever names are in them.

Shares, runs, options, configurations and locks are called as others like. What they are called is
escaped here, once, not wherever a message is worded.
"""

from __future__ import annotations

import sys
from typing import TextIO

from .text import printable


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print one line to *stream* (None: stdout); what cannot be printed is escaped, as `ls -b`.

    So are line feeds: no name can add a line of its own.
    """
    stream = stream or sys.stdout
    print(printable(text), file=stream, flush=stream is sys.stderr)
