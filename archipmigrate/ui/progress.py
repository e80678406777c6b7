"""The progress line on a terminal; where stderr is none, a line every 10 s; or JSON on stdout.

Nothing is guessed.

One task paints it from the counters. What is left is shown where it is known: for an undo and for
volumes, and for a walk where an earlier one has seen how many entries the share has, or its
filesystem says how many there are at most.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
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
RATE_SECONDS = 5.0  # over which the rate on a terminal is taken


@dataclass(frozen=True, slots=True)
class Subject:
    """What a session works on: the job's name, what it counts, and what it does to one of them."""

    job: str
    noun: str = "entry"
    done: str = "changed"

    def in_dry_run(self) -> Subject:
        """Return what a dry run says, which changes nothing."""
        would = "would change" if self.done == "changed" else f"would be {self.done}"
        return replace(self, done=would)


class Progress(Protocol):
    """Shows how far a run is."""

    interval: float

    def tick(self, counters: Counters) -> None:
        """Show the counters."""

    def aside(self, stream: TextIO) -> AbstractContextManager[None]:
        """Make room for something else to be printed to *stream*."""

    def close(self) -> None:
        """Wipe the progress line."""


class Pace:
    """The rate of this session's entries over the last seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._samples: deque[tuple[float, int]] = deque()

    def rate(self, now: float, counters: Counters) -> float:
        """Return entries a second at the time *now*; 0.0 at the first call."""
        samples = self._samples
        samples.append((now, counters.tally.entries - counters.earlier))
        while len(samples) > 2 and samples[1][0] <= now - self._seconds:
            samples.popleft()
        (then, before), (_, seen) = samples[0], samples[-1]
        return max(seen - before, 0) / (now - then) if now > then else 0.0


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
    """One line on stderr, painted over and over, as wide as the terminal is."""

    interval = TERMINAL_SECONDS

    def __init__(self, subject: Subject) -> None:
        from tqdm import tqdm  # noqa: PLC0415 -- 50 ms of start-up that only a terminal is worth

        tqdm.monitor_interval = 0  # no thread: the line is painted from here
        self._tqdm = tqdm
        self._subject = subject
        self._began = monotonic()
        self._pace = Pace(RATE_SECONDS)
        self._bar: tqdm[NoReturn] | None = None

    def tick(self, counters: Counters) -> None:
        """Paint the line."""
        now = monotonic()
        rate = self._pace.rate(now, counters)
        if self._bar is None:
            self._bar = self._make()
        width = os.get_terminal_size(sys.stderr.fileno()).columns or UNKNOWN_SIZE
        line = terminal_line(self._subject, counters, rate, now - self._began, width - 1)
        self._bar.set_description_str(line)

    def _make(self) -> tqdm[NoReturn]:
        sized = all(os.get_terminal_size(sys.stderr.fileno()))
        return self._tqdm(
            file=sys.stderr,
            ncols=None if sized else UNKNOWN_SIZE,
            nrows=None if sized else UNKNOWN_SIZE,
            dynamic_ncols=sized,
            mininterval=0,
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
    """One line every 10 s, or as often as the user wants, on stderr, for logs."""

    def __init__(self, subject: Subject, seconds: float = LOG_SECONDS) -> None:
        self.interval = seconds
        self._subject = subject
        self._began = monotonic()
        self._pace = Pace(seconds)
        self._is_first = True

    def tick(self, counters: Counters) -> None:
        """Print the line, but not at the first call: there is no rate yet."""
        now = monotonic()
        rate = self._pace.rate(now, counters)
        if not self._is_first:
            print_line(status_line(self._subject, counters, rate, now - self._began), sys.stderr)
        self._is_first = False


class JsonProgress(NoProgress):
    """One `status` object every so many seconds, among the other objects."""

    def __init__(self, emit: Callable[[Mapping[str, object]], None], seconds: float) -> None:
        self.interval = seconds
        self._emit = emit
        self._began = monotonic()
        self._pace = Pace(seconds)

    def tick(self, counters: Counters) -> None:
        """Emit the object; at the first call its rate is 0."""
        now = monotonic()
        rate = self._pace.rate(now, counters)
        self._emit(status_object(counters, rate, now - self._began))


def status_object(counters: Counters, rate: float, seconds: float) -> dict[str, object]:
    """Return how far a run is, for programs; what is not known is null."""
    done, total = _extent(counters)
    is_known = total is not None and rate > 0
    return {
        "type": "status",
        "entries": done,
        "total": total,
        "at_most": counters.at_most if total is None else None,
        "rate": round(rate, 1),
        "eta": round((total - done) / rate) if is_known and total is not None else None,
        "changed": counters.tally.changed,
        "failed": counters.tally.failed,
        "phase": counters.phase,
        "seconds": round(seconds, 1),
    }


def _extent(counters: Counters) -> tuple[int, int | None]:
    """Return how many things are done, and of how many; None if that is not known."""
    if counters.total is not None:
        return counters.tally.finished, max(counters.total, counters.tally.finished)
    done, expected = counters.tally.entries, counters.expected
    return done, expected if expected is not None and done <= expected else None


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
    elif counters.expected is not None:
        parts.insert(0, f"of {counters.expected:,} the last time")
    elif counters.at_most is not None:
        parts.insert(0, f"of {counters.at_most:,} at most")
    if counters.total_units:
        parts.append(f"unit {counters.done_units:,} of {counters.total_units:,}")
    if counters.phase:
        parts.append(counters.phase)
    return parts


def terminal_line(
    subject: Subject, counters: Counters, rate: float, seconds: float, width: int
) -> str:
    """Return how far a run is in at most *width* columns; what matters least goes first.

    `perms 41% 194k/473k 28k/s ETA 10s failed 0 changed 190k lanes 2/2 7s`
    """
    tally = counters.tally
    done, total = _extent(counters)
    share, count, left = "", _short(done), ""
    if total is not None:
        share = f"{100 * done // total if total else 100}%"
        count = f"{_short(done)}/{_short(total)}"
        left = f"ETA {_brief((total - done) / rate)}" if rate else ""
    elif counters.expected is None and counters.at_most is not None:
        count = f"{_short(done)}/at most {_short(counters.at_most)}"
    lanes = f"lanes {min(counters.busy, counters.lanes)}/{counters.lanes}"
    units = f"unit {counters.done_units}/{counters.total_units}" if counters.total_units else ""
    noun = "" if subject.noun == "entry" else f"{subject.noun}s"
    shown = (  # each with its rank: the highest goes first
        (0, subject.job),
        (5, counters.phase),
        (2, share),
        (1, f"{noun} {count}".strip()),
        (3, f"{_short(rate)}/s"),
        (4, left),
        (1, f"failed {_short(tally.failed)}"),
        (6, f"{subject.done} {_short(tally.changed)}"),
        (7, units),
        (8, lanes),
        (9, _brief(seconds)),
    )
    for most in range(9, -1, -1):
        line = " ".join(text for rank, text in shown if text and rank <= most)
        if len(line) <= width:
            return line
    return line[: max(width, 0)]


def _short(number: float) -> str:
    """Return a number in at most 4 characters: 999, 1.9k, 194k, 1.2M."""
    for suffix in ("", "k", "M", "G"):
        if number < 999.5:
            is_small = suffix and number < 9.95
            return f"{number:.1f}{suffix}" if is_small else f"{number:.0f}{suffix}"
        number /= 1000
    return f"{number:.0f}T"


def _brief(seconds: float) -> str:
    """Return "10s", "3m20s", "2h05m" or "4d02h"."""
    whole = int(seconds)
    for small, large, units in ((60, 1, "s"), (3600, 60, "ms"), (86400, 3600, "hm")):
        if whole < small:
            if large == 1:
                return f"{whole}s"
            return f"{whole // large}{units[0]}{whole % large // (large // 60):02d}{units[1]}"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
