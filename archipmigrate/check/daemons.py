"""The daemons of v0.3 and v0.4 that run on this host."""

from __future__ import annotations

from collections.abc import Iterator

from ..share.daemons import running_daemons, shown_daemons
from ..ui.text import count
from .finding import Finding, Topic, blocker, ok
from .question import Question


def daemons(question: Question) -> Iterator[Finding]:
    """Look at the processes of this host; whether v0.4 may run yet, the walk says."""
    del question
    running = running_daemons()
    old = [daemon for daemon in running if daemon.is_v03]
    new = running[len(old) :]
    if old:
        yield blocker(
            Topic.DAEMONS,
            f"v0.3 runs here: {shown_daemons(old)}",
            "before relocate and mapfiles, on every node: archipelago stop",
            v03=len(old),
            v04=len(new),
        )
        return
    words = f"; {count(len(new), 'daemon')} of v0.4" if new else " or v0.4"
    yield ok(Topic.DAEMONS, f"no daemon of v0.3{words} here", v03=0, v04=len(new))
