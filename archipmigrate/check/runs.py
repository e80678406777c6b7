"""Unfinished runs of ours on a site, or on a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..jobs.options import RunOptions
from ..journal.runs import read_runs
from ..journal.store import RunHeader
from ..share import overlap, places_at
from .finding import Finding, Topic, ok, warning

if TYPE_CHECKING:  # a job looks before it begins, and needs no more than this
    from .question import Question


def runs(question: Question) -> Iterator[Finding]:
    """Look through the journals of the state directory."""
    options = question.options
    every = read_runs(options.state_path)
    places = [place for path in question.site.directories.values() for place in places_at(path)]
    unfinished = list(unfinished_runs(every.headers, places))
    for header in unfinished:
        yield warning(
            Topic.RUNS,
            f"{header.run} is unfinished ({header.status})",
            ways_on(header, options),
            run=header.run,
            status=header.status,
        )
    for bad in every.unreadable:
        yield warning(
            Topic.RUNS, bad.why, f"restore it, or: {options.command('forget', bad.run)} --force"
        )
    if not unfinished and not every.unreadable:
        yield ok(Topic.RUNS, f"no unfinished run in {options.state_path}")


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
