"""Unfinished runs of ours on a site, or on a part of it."""

from __future__ import annotations

from collections.abc import Iterator

from ..journal.runs import read_runs
from ..share import places_at
from .finding import Finding, Topic, ok, warning
from .question import Question
from .unfinished import unfinished_runs, ways_on


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
