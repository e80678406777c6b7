"""The locks of a site, counted by who left them."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from ..jobs.registry import LOCKS
from ..locks.classify import Verdict, is_lock_name, judge
from ..locks.lock import Kind, Root, read_lock
from ..locks.runs import runs_with_locks
from ..ui.text import command_line, count
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, opened
from .site import PROGRAM

UNREADABLE = Verdict(Kind.HELD)


def locks(question: Question) -> Iterator[Finding]:
    """List the lock directory. Locks among the maps are for the walk."""
    site = question.site
    if not site.locks:
        yield ok(Topic.LOCKS, "no lock directory: locks lie among the maps")
        return
    try:
        kinds = _counts(question)
    except OSError as error:
        yield blocker(Topic.LOCKS, f"{site.locks}: {error.strerror}", "see to that")
        return
    if kinds is None:
        return
    held, ours, free = kinds["held"], kinds["ours"], kinds["free"]
    data = dict(kinds)
    if held:
        yield warning(
            Topic.LOCKS,
            f"{count(held, 'lock')} held by daemons, or by what has died",
            "close these volumes (vlmc close), or stop Archipelago, before mapfiles; who holds "
            f"them: {site.command(LOCKS)}",
            **data,
        )
    if ours:
        yield warning(
            Topic.LOCKS,
            f"{count(ours, 'lock')} of runs of ours",
            f"finish these runs: {command_line([PROGRAM, 'status', *question.site.state])}",
            **data,
        )
    if free:
        yield warning(
            Topic.LOCKS,
            f"{count(free, 'lock')} that nobody can hold any more, once v0.3 is stopped",
            site.command(LOCKS, "--clean", "--v03-stopped"),
            **data,
        )
    if not (held or ours or free):
        yield ok(Topic.LOCKS, f"nothing is locked in {site.locks}", **data)


def _counts(question: Question) -> Counter[str] | None:
    """Return how many locks are held, ours, or free; None if a directory is missing.

    Raises OSError.
    """
    with opened(question.site.maps) as maps, opened(question.site.locks) as share:
        if share is None or maps is None:
            return None
        runs = runs_with_locks(question.options.state_path, maps)
        kinds = Counter({"held": 0, "ours": 0, "free": 0})
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=share.fd)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if is_lock_name(name) and (verdict := _judged(fd, name, runs)):
                        kinds[_word(verdict)] += 1
        finally:
            os.close(fd)
    return kinds


def _judged(fd: int, name: bytes, runs: Mapping[bytes, str]) -> Verdict | None:
    try:
        lock = read_lock(Root.LOCKS, b"", fd, name)
    except OSError:
        return UNREADABLE
    return None if lock is None else judge(lock, runs, time.time_ns())


def _word(verdict: Verdict) -> str:
    if verdict.is_free:
        return "free"
    is_ours = verdict.kind is Kind.OURS or verdict.is_needed
    return "ours" if is_ours else "held"
