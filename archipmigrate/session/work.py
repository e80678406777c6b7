"""Sessions of runs: begin one, dry-run, resume, undo. Each returns how the session ended.

    lock     the share, and what else the job works on, against other runs on this host
    journal  of the run to continue, or of a new one
    open     the job, and what it works through
    run      the engine works the job off, or until it is interrupted or must stop
    tell     the caller sees the result while the journal is still open

Whatever a session opens is closed when it returns or raises. One that was killed at any moment, or
that raised, is continued by `resume`, or by `begin` with the same settings.

The engine is imported when a session begins to work: trio takes longer to import than all the rest,
and many commands, and all refusals, do without.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from ..backend.extensions import BUILT, NOT_BUILT
from ..engine.job import Result
from ..errors import FatalError, Interrupted
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Reporter, S, Tell, Work
from ..jobs.options import RunOptions
from ..jobs.registry import is_of, kind_of
from ..journal import counting
from ..journal.runs import list_runs, open_run
from ..journal.store import Journal, RunHeader
from ..model import Tally
from ..share import Share
from ..share.bypass import label
from ..ui.text import quoted, reason
from .extent import WALKED, keep_extent, most_entries, read_extent
from .find import can_resume
from .open import (
    check_phases,
    check_readable,
    check_room,
    check_undone_since,
    find_or_make,
    find_or_make_undo,
    locked,
    open_earlier_share,
    places_of,
    roots_of,
    state_directory,
    tell_unreadable,
)
from .reach import reach, wait_for_mount


def begin(
    kind: JobKind[S],
    settings: S,
    share: Share,
    options: RunOptions,
    reporter: Reporter,
    tell: Tell,
    *,
    fresh: bool = False,
) -> Ended:
    """Run a job on an open share, or continue an unfinished run of the same settings.

    *fresh* begins a new run in place of that one. The share is closed on return. Raises Busy if
    another run holds the share, FatalError, UsageError.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(share.close)
        kind.check_state(settings, share, options)
        state = state_directory(options, share)
        more = kind.more_roots(settings)
        roots, places = roots_of(share, more), places_of(share, more)
        locks = stack.enter_context(locked(state, roots, places))
        share = replace(share, lock=locks.fd(share.identity))
        check_phases(kind, "", places, options)
        check_room(state, share, reporter)
        check_readable(state, share, options, reporter)
        share = _reached(kind, settings, share, state, options, reporter)
        if kind.settles_earlier:
            _settle_earlier(kind, settings, share, state, options, reporter, fresh=fresh)
        journal = find_or_make(kind, settings, share, state, options, reporter, fresh=fresh)
        stack.callback(journal.close)
        header = journal.read_header()
        locks.sign(header.run)
        kind.begun(settings, state, header.run)
        opening = Opening(share, state, header, journal, settings, options, Purpose.RUN, reporter)
        return _work(kind, opening, tell)


def dry_run(
    kind: JobKind[S],
    settings: S,
    share: Share,
    options: RunOptions,
    reporter: Reporter,
    tell: Tell,
) -> Ended:
    """Scan an open share for what a job would do; change nothing.

    It takes no lock, and has no journal but a temporary one. The share is closed on return. Raises
    FatalError, UsageError.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(share.close)
        state = options.state_path
        if kind.past_mount:
            share = _reached(kind, settings, share, state, options, reporter)
        journal = Journal(None, new=True)
        stack.callback(journal.close)
        shown = os.fsdecode(share.path)
        header = RunHeader("", kind.name, share.identity, shown, "", settings.as_dict())
        opening = Opening(
            share, state, header, journal, settings, options, Purpose.DRY_RUN, reporter
        )
        return _work(kind, opening, tell)


def resume(
    header: RunHeader,
    options: RunOptions,
    reporter: Reporter,
    tell: Tell,
    *,
    failed: bool = False,
    enter: Callable[[Journal], None] = lambda _: None,
) -> Ended | None:
    """Continue a run that is no undo; with *failed* also try its failures again.

    *enter* may change the run once its share is locked, such as have it enter a phase. Return None
    if another session finished it, or undid it, before this one had the share's lock.
    Raises Busy, FatalError, UsageError.
    """
    kind = kind_of(header)
    with contextlib.ExitStack() as stack:
        share = open_earlier_share(header, options)
        stack.callback(share.close)
        settings = kind.settings(header.settings)
        kind.check_state(settings, share, options)
        state = state_directory(options, share)
        roots, places = roots_of(share, header.roots), places_of(share, header.roots)
        locks = stack.enter_context(locked(state, roots, places))
        share = replace(share, lock=locks.fd(share.identity))
        check_phases(kind, header.run, places, options)
        journal = open_run(state, header.run)
        stack.callback(journal.close)
        enter(journal)
        header = journal.read_header()
        if not can_resume(header, failed=failed):
            return None
        locks.sign(header.run)
        tell_unreadable(state, reporter)
        check_room(state, share, reporter)
        share = _reached(kind, settings, share, state, options, reporter)
        opening = Opening(share, state, header, journal, settings, options, Purpose.RUN, reporter)
        return _work(kind, opening, tell, retry=failed)


def undo(
    target: RunHeader,
    options: RunOptions,
    reporter: Reporter,
    tell: Tell,
    *,
    is_meant: Callable[[], bool] = lambda: True,
) -> Ended | None:
    """Put back what the run *target* changed, or continue an undo of it that was cut off.

    What a killed session of that run left is settled first; from then on it cannot be resumed.
    *target* was chosen before the share was locked. *is_meant* is asked once it is, and says
    whether *target* would be chosen still; if not, nothing is done, and None returned. Raises Busy,
    FatalError, UsageError.
    """
    kind = kind_of(target)
    with contextlib.ExitStack() as stack:
        share = open_earlier_share(target, options)
        stack.callback(share.close)
        kind.check_backend(options.backend, share)
        settings = kind.settings(target.settings)
        kind.check_state(settings, share, options)
        state = state_directory(options, share)
        roots, places = roots_of(share, target.roots), places_of(share, target.roots)
        locks = stack.enter_context(locked(state, roots, places))
        if not is_meant():
            return None
        check_undone_since(target, places, state, options)
        tell_unreadable(state, reporter)
        kind.check_undo(target, share, options)
        share = replace(share, lock=locks.fd(share.identity))
        share = _reached(kind, settings, share, state, options, reporter)
        journal = find_or_make_undo(target, share, state, options, reporter)
        stack.callback(journal.close)
        header = journal.read_header()
        locks.sign(header.run)
        target_journal = open_run(state, target.run)
        stack.callback(target_journal.close)
        target = target_journal.read_header()
        target_journal.check()
        forward = Opening(
            share, state, target, target_journal, settings, options, Purpose.SETTLE, reporter
        )
        return _put_back(kind, forward, journal, header, tell)


def _put_back(
    kind: JobKind[S], forward: Opening[S], journal: Journal, header: RunHeader, tell: Tell
) -> Ended:
    """Settle the run that *forward* is of, then put back what it changed."""
    target = forward.journal
    with kind.open(forward) as work:
        try:
            _settle(work, target)
        except Interrupted:
            header.status = "interrupted"
            journal.commit([lambda j: j.write_header(header)])
            raise
        if target.unsettled():
            why = "; ".join(f"{quoted(f.path)}: {reason(f)}" for f in islice(target.failures(), 3))
            raise FatalError(
                f"{forward.header.run} left changes half done that cannot be settled now ({why}): "
                "see to that, then try again"
            )
        forward.header.undone = header.run
        target.commit([lambda j: j.write_header(forward.header)])
        with work.undo(header) as backwards:
            opening = replace(forward, header=header, journal=journal)
            ended = _run(opening, backwards)
    if ended.status == "done" and ended.tally.skipped:
        ended = replace(ended, status="failures")
    tell(ended)
    return ended


def _work(kind: JobKind[S], opening: Opening[S], tell: Tell, *, retry: bool = False) -> Ended:
    """Open the job, run it, and tell how that ended."""
    with kind.open(opening) as work:
        ended = _run(opening, work, retry=retry, walks=kind.walks)
    status = kind.status(ended)
    if status != ended.status:
        ended = replace(ended, status=status)
        opening.header.status = status
        opening.journal.commit([lambda j: j.write_header(opening.header)])
    tell(ended)
    return ended


def _run(opening: Opening[Any], work: Work, *, retry: bool = False, walks: bool = False) -> Ended:
    """Run one session of an opened job."""
    from ..engine.loop import run_loop  # noqa: PLC0415 -- half of start-up: see the module
    from ..engine.session import Session  # noqa: PLC0415 -- the same

    share, header, reporter = opening.share, opening.header, opening.reporter
    header.backend = work.backend
    began = monotonic()
    if work.backend == "python" and opening.options.backend != "python" and not BUILT:
        reporter.remark(NOT_BUILT)
    run = Session(work.job, opening.journal, header, work.lanes, reporter, retry=retry)
    if walks:
        run.counters.expected = read_extent(opening.state, share.identity)
        run.counters.at_most = most_entries(share)
    try:
        result = run_loop(run.execute)
    finally:
        for remark in filter(None, (share.remark, work.remark)):
            reporter.remark(remark)
    tally = counting.shown(run.counters.tally, opening.journal.deferred())
    if walks and result.status in WALKED:
        keep_extent(opening.state, share.identity, tally.entries)
    return _ended(opening, work, result, tally, monotonic() - began)


def _ended(
    opening: Opening[Any], work: Work, result: Result, tally: Tally, seconds: float
) -> Ended:
    way = "through the mount" if opening.share.is_nfs else ""
    if work.nfs_version:
        way = f"directly by {label(work.nfs_version)}"
    return Ended(
        opening.header,
        result.status,
        result.reason,
        result.signal,
        tally,
        opening.journal.notices(),
        seconds,
        opening.share.path,
        way,
        work.nfs_version,
        opening.purpose is Purpose.DRY_RUN,
        opening.journal,
    )


def _settle(work: Work, journal: Journal) -> None:
    """Settle the batches of a run that is not going to be resumed."""
    from ..engine.loop import run_loop  # noqa: PLC0415 -- see the module
    from ..engine.settle import settle_run  # noqa: PLC0415 -- the same

    run_loop(settle_run, work.job, journal, work.lanes.jobs)
    work.settled()


def _settle_earlier(
    kind: JobKind[S],
    settings: S,
    share: Share,
    state: Path,
    options: RunOptions,
    reporter: Reporter,
    *,
    fresh: bool,
) -> None:
    """Settle what earlier runs of this kind left, but for the run that is about to be resumed."""
    for header in list_runs(state):
        if not is_of(header, kind) or header.share != share.identity or header.undone:
            continue
        if header.is_resumable and not fresh and header.settings == settings.as_dict():
            continue
        with contextlib.closing(open_run(state, header.run)) as journal:
            if not journal.unsettled():
                continue
            reporter.remark(f"settling the {kind.noun}s that {header.run} left half done")
            earlier = kind.settings(header.settings)
            opening = Opening(
                share, state, header, journal, earlier, options, Purpose.SETTLE, reporter
            )
            with kind.open(opening) as work:
                _settle(work, journal)


def _reached(
    kind: JobKind[S],
    settings: S,
    share: Share,
    state: Path,
    options: RunOptions,
    reporter: Reporter,
) -> Share:
    """Return the share as the job reaches it; wait for a mount that may show old attributes."""
    if kind.past_mount:
        return reach(share, options, options.domain or kind.domain(settings), reporter)
    wait_for_mount(share, state, reporter)
    return share
