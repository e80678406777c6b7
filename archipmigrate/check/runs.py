"""Unfinished runs of ours on a site, or on a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ..jobs.options import RunOptions
from ..jobs.registry import known_kind
from ..journal.runs import open_run, read_runs
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


def standing_runs(question: Question) -> list[RunHeader]:
    """Return the runs on a site that are not undone, and are no undos, the newest first."""
    places = [place for path in question.site.directories.values() for place in places_at(path)]
    every = read_runs(question.options.state_path).headers
    return [
        run
        for run in reversed(every)
        if not run.undone
        and not run.settings.get("of")
        and overlap(places, run.places or places_at(run.path))
    ]


def phase_of(question: Question, standing: Iterable[RunHeader]) -> str:
    """Return the phase of the newest of *standing* runs that has phases; "" if none has."""
    for run in standing:
        kind = known_kind(run)
        if kind is not None and kind.has_phases and not run.superseded:
            with closing(open_run(question.options.state_path, run.run)) as journal:
                return kind.phase(journal)
    return ""


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
