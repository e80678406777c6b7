"""Prints what a session reports: listed changes, failures, notices, the summary; as text or JSON.

Results go to stdout, progress and remarks to stderr. Both forms come from the same calls.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol, TextIO

from .. import __version__
from ..engine.job import Counters
from ..model import Examples, Failure, Notice
from ..packed.changes import Change
from ..policy import NO_ID
from .causes import Causes
from .notices import notice_counts, notice_line, notice_object
from .printer import RED, STATUS_COLORS, print_line, wants_color
from .progress import (
    LOG_SECONDS,
    JsonProgress,
    LogProgress,
    NoProgress,
    Progress,
    Subject,
    TerminalProgress,
    status_line,
)
from .text import (
    as_json,
    examples_line,
    group_name,
    mode_bits,
    path_object,
    quoted,
    reason,
    user_name,
)


@dataclass(frozen=True, slots=True)
class Verbosity:
    """What the user wants to see; `list_changes` prints a line for each change.

    `every` is the time between two lines of progress in seconds (0: the default), where they are
    lines; `color` is auto, always or never.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    progress: bool = True
    list_changes: bool = False
    every: int = 0
    color: str = "auto"


class Decoder(Protocol):
    """Decodes the packed changes of a unit, and the outcome of the batch, for `--list`."""

    def __call__(self, changes: bytes, outcome: bytes | None) -> Sequence[Change]:
        """Return the changes that were made or, with no outcome, that would be made."""


class Report:
    """The engine's observer that prints; see the module."""

    def __init__(
        self, subject: Subject, verbosity: Verbosity, decode: Decoder | None = None
    ) -> None:
        """Report on a session; without *decode* no changes are listed."""
        self._subject = subject
        self._see = verbosity
        self._decode = decode if verbosity.list_changes else None
        self.also: Callable[[bytes], None] | None = None  # is given the changes of each unit
        self._out: TextIO = sys.stdout
        self._is_read = True
        self._began = monotonic()
        self._progress: Progress = self._choose_progress()
        self.interval = self._progress.interval
        self.failures = Causes()
        if verbosity.json:
            self.emit({"type": "version", "version": __version__, "job": subject.job})

    def _choose_progress(self) -> Progress:
        every = self._see.every
        if self._see.json and every:
            return JsonProgress(self.emit, every)
        if self._see.quiet or not self._see.progress:
            return NoProgress()
        if sys.stderr.isatty():
            return TerminalProgress(self._subject)
        return LogProgress(self._subject, every or LOG_SECONDS)

    @property
    def is_json(self) -> bool:
        """Whether results are JSON objects."""
        return self._see.json

    @property
    def is_quiet(self) -> bool:
        """Whether the user wants to see failures only."""
        return self._see.quiet

    @property
    def is_verbose(self) -> bool:
        """Whether the user wants to see everything."""
        return self._see.verbose

    # -- the engine's observer

    def tick(self, counters: Counters) -> None:
        """Paint the progress."""
        self._progress.tick(counters)

    def show(self, counters: Counters) -> None:
        """Print the status line (SIGUSR1)."""
        seconds = monotonic() - self._began
        rate = (counters.tally.entries - counters.earlier) / max(seconds, 1e-3)
        self.remark(status_line(self._subject, counters, rate, seconds), always=True)

    def changed(self, preimage: bytes, outcome: bytes | None) -> None:
        """List the changes of a unit."""
        if self.also is not None:
            self.also(preimage)
        if self._decode is None or not self._is_read:
            return
        word = _change_json if self._see.json else change_line
        self._print(word(change) for change in self._decode(preimage, outcome))

    def noticed(self, notices: Sequence[Notice]) -> None:
        """Print each in JSON, or with -v."""
        for notice in notices:
            if self._see.json:
                self.emit(notice_object(notice))
            elif self._see.verbose:
                self.remark(notice_line(notice.kind, Examples(1, [notice.path])))

    def failed(self, failures: Sequence[Failure]) -> None:
        """Group failures; with -v print each."""
        for failure in failures:
            self.failures.add(reason(failure), failure.path)
            if self._see.json:
                self.emit(
                    {
                        "type": "failure",
                        **path_object(failure.path),
                        "operation": failure.operation,
                        "errno": failure.errno,
                        "reason": reason(failure),
                    }
                )
            elif self._see.verbose:
                self.remark(f"{quoted(failure.path)}: {reason(failure)}", color=RED)

    # -- the printing

    def emit(self, thing: Mapping[str, object]) -> None:
        """Print one JSON object."""
        self.line(as_json(thing))

    def line(self, text: str, color: str = "") -> None:
        """Print one line of the results; the progress line is wiped meanwhile.

        It is painted in *color*, if the user wants any.

        Raises BrokenPipeError, once, if nobody reads stdout any more. What follows is dropped, but
        for the summary, which then goes to stderr.
        """
        self._print([text], color)

    def _print(self, lines: Iterable[str], color: str = "") -> None:
        if color and not wants_color(self._see.color, self._out):
            color = ""
        try:
            with self._progress.aside(self._out):
                for line in lines:
                    print_line(line, self._out, color)
        except BrokenPipeError:
            abandon_stdout()
            self._is_read = False
            raise

    def remark(self, text: str, *, always: bool = False, color: str = "") -> None:
        """Print one line to stderr, unless quiet."""
        if always or not self._see.quiet:
            if color and not wants_color(self._see.color, sys.stderr):
                color = ""
            with self._progress.aside(sys.stderr):
                print_line(text, sys.stderr, color)

    def summary(
        self,
        lines: Sequence[str],
        thing: Mapping[str, object],
        stopped: str = "",
        notices: Mapping[str, Examples] | None = None,
    ) -> None:
        """End the report: print failures by cause, *notices*, then the summary, or its object.

        *notices* are those of all sessions of the run, by kind. *lines* also say why a run
        *stopped*; where they are not printed, that goes to stderr.
        """
        self._progress.close()
        if not self._is_read:
            self._out = sys.stderr
        if stopped and (self._see.json or self._see.quiet):
            self.remark(f"archipmigrate: stopped: {stopped}", always=True)
        if self._see.json:
            self.emit({**thing, "notices": notice_counts(notices)} if notices else thing)
        else:
            for name, cause in self.failures:
                self.line(examples_line("failed", name, cause), RED)
            if not self._see.quiet:
                for kind, found in (notices or {}).items():
                    self.line(notice_line(kind, found))
                color = STATUS_COLORS.get(str(thing.get("status")), RED)
                for number, line in enumerate(lines):
                    self.line(line, "" if number else color)
        self._out.flush()

    def close(self) -> None:
        """Wipe the progress line."""
        self._progress.close()


def abandon_stdout() -> None:
    """Direct stdout to /dev/null: its pipe is closed. What is buffered is lost."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _change_json(change: Change) -> str:
    return as_json(change_object(change))


def change_object(change: Change) -> dict[str, object]:
    """Return a change for JSON."""
    is_of_group = change.new_uid == NO_ID
    return {
        "type": "change",
        **path_object(change.path),
        "kind": "directory" if change.directory else "file",
        "mode": mode_bits(change.mode),
        "new_mode": mode_bits(change.new_mode),
        **({} if is_of_group else {"uid": change.uid, "new_uid": change.new_uid}),
        "gid": change.gid,
        "new_gid": change.new_gid,
    }


def change_line(change: Change) -> str:
    """Return a change as one line."""
    return f"{transition(change)}  {quoted(change.path)}"


def transition(change: Change) -> str:
    """Return what a change does: `f 0600 root -> 0660 archipelago`."""
    kind = "d" if change.directory else "f"
    old, new = group_name(change.gid), group_name(change.new_gid)
    if change.new_uid != NO_ID:
        old, new = f"{user_name(change.uid)}:{old}", f"{user_name(change.new_uid)}:{new}"
    before, after = f"{mode_bits(change.mode)} {old}", f"{mode_bits(change.new_mode)} {new}"
    return f"{kind} {before} -> {after}"
