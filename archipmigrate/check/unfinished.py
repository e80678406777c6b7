"""Runs that were cut off, on a share or on what is above or below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..jobs.options import RunOptions
from ..journal.store import RunHeader
from ..share import overlap, places_at


def unfinished_runs(headers: Iterable[RunHeader], places: Sequence[str]) -> Iterator[RunHeader]:
    """Yield the runs that can be resumed, of shares that are, or overlap, those at *places*."""
    for header in headers:
        if header.is_resumable and overlap(places, header.places or places_at(header.path)):
            yield header


def ways_on(header: RunHeader, options: RunOptions) -> str:
    """Return the commands that end an unfinished run."""
    return (
        f"{options.command('resume', header.run)} goes on with it, "
        f"{options.command('undo', header.run)} takes it back"
    )
