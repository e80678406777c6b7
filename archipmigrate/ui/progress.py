"""The progress line on a terminal; where stderr is none, a line every 10 s. It never estimates.

One task paints it from the counters. What is left is shown only where the total is known.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

from ..engine.job import Counters
from .printer import print_line
from .text import duration

if TYPE_CHECKING:
    from tqdm import tqdm

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 10.0
UNKNOWN_SIZE = 500  # for terminals that say that they have 0 columns


@dataclass(frozen=True, slots=True)
class Subject:
    """What a session works on: the job's name, what it counts, and what it does to one of them."""

    job: str
    noun: str = "entry"
    done: str = "changed"


class Progress(Protocol):
    """Shows how far a run is."""

    interval: float

    def tick(self, counters: Counters) -> None:
        """Show the counters."""

    def aside(self, stream: TextIO) -> AbstractContextManager[None]:
        """Make room for something else to be printed to *stream*."""

    def close(self) -> None:
        """Wipe the progress line."""


class NoProgress:
    """Shows nothing."""

    interval = LOG_SECONDS

    def tick(self, counters: Counters) -> None:
        """Show nothing."""

    def aside(self, stream: TextIO) -> AbstractContextManager[None]:
        """Do nothing."""
        del stream
        return nullcontext()

    def close(self) -> None:
        """Do nothing."""


class TerminalProgress:
    """One line on stderr, painted over and over."""

    interval = TERMINAL_SECONDS

    def __init__(self, subject: Subject) -> None:
        from tqdm import tqdm  # noqa: PLC0415 -- 50 ms of start-up that only a terminal is worth

        tqdm.monitor_interval = 0  # no thread: the line is painted from here
        self._tqdm = tqdm
        self._subject = subject
        self._began = monotonic()
        self._bar: tqdm[NoReturn] | None = None

    def tick(self, counters: Counters) -> None:
        """Paint the line."""
        entries = counters.tally.entries
        if self._bar is None:
            self._bar = self._make(entries)
        rate = self._bar.format_dict["rate"] or 0.0
        line = status_line(self._subject, counters, rate, monotonic() - self._began)
        self._bar.set_description_str(line, refresh=False)
        if not self._bar.update(entries - self._bar.n):
            self._bar.refresh()

    def _make(self, entries: int) -> tqdm[NoReturn]:
        """Return the line; *entries* of earlier sessions do not count in its rate."""
        sized = all(os.get_terminal_size(sys.stderr.fileno()))
        return self._tqdm(
            initial=entries,
            file=sys.stderr,
            ncols=None if sized else UNKNOWN_SIZE,
            nrows=None if sized else UNKNOWN_SIZE,
            dynamic_ncols=sized,
            mininterval=0,
            smoothing=0.1,
            leave=False,
            bar_format="{desc}",
        )

    def aside(self, stream: TextIO) -> AbstractContextManager[None]:
        """Wipe the line, and paint it again afterwards."""
        return self._tqdm.external_write_mode(file=stream)

    def close(self) -> None:
        """Wipe the line."""
        if self._bar is not None:
            self._bar.close()


class LogProgress(NoProgress):
    """One line every 10 s on stderr, for logs."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._began = monotonic()
        self._last = (self._began, -1)

    def tick(self, counters: Counters) -> None:
        """Print the line, but not at the first call: there is no rate yet."""
        now, entries = monotonic(), counters.tally.entries
        before, seen = self._last
        self._last = (now, entries)
        if seen >= 0:
            rate = (entries - seen) / (now - before)
            line = status_line(self._subject, counters, rate, now - self._began)
            print_line(line, sys.stderr)


def status_line(subject: Subject, counters: Counters, rate: float, seconds: float) -> str:
    """Return in one line how far a run is; *rate* in entries a second."""
    tally = counters.tally
    parts = [
        f"{tally.entries:,} entries",
        f"{rate:,.0f} entries/s",
        *_figures(subject, counters),
        duration(seconds),
    ]
    return f"{subject.job}: {', '.join(parts)}"


def _figures(subject: Subject, counters: Counters) -> list[str]:
    """Return the counts, the lanes at work, and the part of the total that is done."""
    tally, lanes = counters.tally, counters.lanes
    parts = [
        f"{tally.changed:,} {subject.done}",
        f"{tally.failed:,} failed",
        f"lanes {min(counters.busy, lanes)}/{lanes}",
    ]
    if counters.total is not None:
        parts.insert(0, f"{subject.noun} {tally.finished:,} of {counters.total:,}")
    if counters.total_units:
        parts.append(f"unit {counters.done_units:,} of {counters.total_units:,}")
    if counters.phase:
        parts.append(counters.phase)
    return parts
