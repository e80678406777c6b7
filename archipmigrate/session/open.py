"""What a session opens before its job: the state directory, locks, a journal, an earlier share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import FatalError, JournalError, ShareError, StateError
from ..jobs.kind import JobKind, Reporter, S
from ..jobs.options import RunOptions
from ..jobs.registry import (
    UNDO,
    is_of,
    kind_of,
    known_kind,
    restores_set_id,
    undo_settings,
    undo_target,
)
from ..journal import counting
from ..journal.location import (
    SPARE_BYTES,
    check_outside,
    check_place,
    estimated_bytes,
    runtime_directory,
    secure_directory,
    spare_bytes,
)
from ..journal.lock import ShareLock
from ..journal.runs import list_runs, new_run, open_run, read_runs, supersede_run
from ..journal.store import Journal, RunHeader
from ..share import Share, open_share, overlap, places_at
from ..ui.text import count, quoted
from .find import may_have_changed


def state_directory(options: RunOptions, share: Share | None = None) -> Path:
    """Return the state directory, made if need be, and checked. Raises StateError.

    It must not lie inside *share*.
    """
    state = options.state_path
    check_place(state)
    if share is not None and share.fd >= 0:
        check_outside(state, share.fd, f"the share {os.fsdecode(share.path)}")
    return secure_directory(state)


def check_room(state: Path, share: Share, reporter: Reporter) -> None:
    """Refuse a full state disk; warn if a journal of the whole share may not fit.

    Raises StateError.
    """
    spare = spare_bytes(state)
    if spare < SPARE_BYTES:
        raise StateError(
            f"{state} has less than {SPARE_BYTES >> 20} MiB left: make room, or use --state"
        )
    needed = estimated_bytes(share)
    if needed > spare:
        reporter.remark(
            f"{state} has {spare >> 20:,} MiB left; if every inode of the filesystem belongs to "
            f"the share, the journal takes up to {needed >> 20:,} MiB (a run that finds no room "
            "stops cleanly)"
        )


# -- locks


class RootLocks:
    """The locks of all roots of a run: the share, and others that its job works on.

    They are taken in the order of the identities, without waiting: of two runs that have a root in
    common one gets all its roots, and the other one is refused and holds nothing.
    """

    def __init__(self, state: Path, roots: Mapping[str, str], places: Sequence[str] = ()) -> None:
        """Take the locks of *roots*, identities and the paths to show. Raises Busy.

        No run whose roots are above or below *places*, those of all roots, holds a lock then.
        """
        directory = secure_directory(runtime_directory(state))
        self._locks: dict[str, ShareLock] = {}
        try:
            for identity in sorted(roots):
                others = [] if self._locks else places
                self._locks[identity] = ShareLock(directory, identity, roots[identity], others)
        except BaseException:
            self.release()
            raise

    def fd(self, identity: str) -> int:
        """Return the descriptor that holds a root, for processes that are to hold it, too."""
        return self._locks[identity].fd

    def sign(self, run: str) -> None:
        """Write down which run holds the roots, for the message to others."""
        for lock in self._locks.values():
            lock.sign(run)

    def release(self) -> None:
        """Release all locks."""
        for lock in self._locks.values():
            lock.release()


@contextlib.contextmanager
def locked(
    state: Path, roots: Mapping[str, str], places: Sequence[str] = ()
) -> Iterator[RootLocks]:
    """Hold roots, and what is above and below *places*, against other runs on this host.

    Raises Busy.
    """
    locks = RootLocks(state, roots, places)
    try:
        yield locks
    finally:
        locks.release()


def roots_of(share: Share, more: Mapping[str, str]) -> dict[str, str]:
    """Return the roots to lock for a run on *share*, and *more*."""
    return {share.identity: os.fsdecode(share.path), **more}


def places_of(share: Share, more: Mapping[str, str]) -> list[str]:
    """Return the places of all roots of a run on *share*, and *more*."""
    return [*share.places, *(place for path in more.values() for place in places_at(path))]


# -- journals


def tell_unreadable(state: Path, reporter: Reporter) -> None:
    """Name the journals that cannot be read."""
    for bad in read_runs(state).unreadable:
        reporter.remark(bad.why)


def check_readable(state: Path, share: Share, options: RunOptions, reporter: Reporter) -> None:
    """Name the journals that cannot be read; refuse to begin a run if one is of this share.

    A new run would take what that one made for what was there before. Raises JournalError.
    """
    for bad in read_runs(state).unreadable:
        if bad.share == share.identity:
            command = f"{options.command('forget', bad.run)} --force"
            raise JournalError(
                f"{bad.why}. It is of this share, and what it holds cannot be undone without it: "
                f"restore it, or do without it: `{command}`"
            )
        reporter.remark(bad.why)


def find_or_make(
    kind: JobKind[S],
    settings: S,
    share: Share,
    state: Path,
    options: RunOptions,
    reporter: Reporter,
    *,
    fresh: bool,
) -> Journal:
    """Return the journal of the run to resume, or of a new one.

    A run on this share with the same settings is resumed, unless a *fresh* one is to supersede it.
    Raises FatalError if an undo is unfinished on this share.
    """
    stored = settings.as_dict()
    superseded = []
    for header in reversed(list(list_runs(state))):
        if header.share != share.identity or not header.is_resumable:
            continue
        if undo_target(header):
            raise FatalError(_refusal(header, options))
        if not is_of(header, kind):
            continue
        if fresh:
            superseded.append(header.run)
        elif header.settings == stored:
            journal = open_run(state, header.run)
            done = counting.shown(journal.tally()).entries
            reporter.remark(
                f"resuming {header.run} ({header.status}, {count(done, 'entry')} done): "
                "--fresh would start over"
            )
            return journal
        else:
            reporter.remark(
                f"{header.run} is unfinished, but has other options: starting a new run beside it "
                f"(`{options.command('resume', header.run)}` goes on with it)"
            )
    more = kind.more_roots(settings)
    journal = new_run(state, kind.name, share, stored, more, places_of(share, more))
    _supersede(state, superseded, journal)
    return journal


def _refusal(undo: RunHeader, options: RunOptions) -> str:
    """Word that an undo is unfinished; it can be dropped only if it leaves nothing behind."""
    words = f"the undo {undo.run} is unfinished: finish it with "
    words += f"`{options.command('resume', undo.run)}`"
    if kind_of(undo).leaves_behind:
        return words
    return f"{words}, or drop it with `{options.command('forget', undo.run)}`"


def find_or_make_undo(
    target: RunHeader, share: Share, state: Path, options: RunOptions, reporter: Reporter
) -> Journal:
    """Return the journal of the undo of *target* that was cut off, or of a new one.

    One that stopped, because nothing worked, is begun again: what is back already stays. So is one
    that is now, other than before, to give files their set-id bits back.
    """
    stopped = []
    restores = options.restore_set_id
    for header in list_runs(state):
        if undo_target(header) == target.run and header.is_resumable:
            asks_for_more = restores and not restores_set_id(header)
            if header.status != "stopped" and not asks_for_more:
                reporter.remark(f"resuming {header.run} ({header.status})")
                return open_run(state, header.run)
            stopped.append(header.run)
            restores = restores or restores_set_id(header)
    settings = undo_settings(target.run, restore_set_id=restores)
    places = places_of(share, target.roots)
    journal = new_run(state, UNDO, share, settings, target.roots, places)
    _supersede(state, stopped, journal)
    return journal


def _supersede(state: Path, runs: list[str], successor: Journal) -> None:
    for run in runs:
        supersede_run(state, run, successor.read_header().run)


def check_phases(kind: JobKind[Any], run: str, places: Sequence[str], options: RunOptions) -> None:
    """Check that no run whose roots overlap *places* is in a phase in which *kind* has to wait.

    *run* is the one that is to go on ("": a new one). Raises FatalError.
    """
    state = options.state_path
    for header in list_runs(state):
        other = known_kind(header)
        if other is None or not other.has_phases or header.run == run:
            continue
        if header.undone or header.superseded or not overlap(places, header.places):
            continue
        with contextlib.closing(open_run(state, header.run)) as journal:
            why = other.forbids(header, journal, kind, options)
        if why:
            raise FatalError(f"{header.run} has not come to its end on this share: {why}")


def check_maps_undone(target: RunHeader, state: Path, options: RunOptions) -> None:
    """Check that no later run has written maps that rest on the objects of *target*.

    Raises FatalError.
    """
    for header in reversed(list(list_runs(state))):
        kind = known_kind(header)
        is_later = (header.created, header.run) > (target.created, target.run)
        if kind is None or not kind.writes_maps or not is_later or header.undone:
            continue
        if overlap(target.places, header.places) and may_have_changed(state, header):
            raise FatalError(
                f"{header.run} has upgraded maps of these objects: undo that one first, with "
                f"`{options.command('undo', header.run)}`"
            )


def check_undone_since(
    target: RunHeader, places: Sequence[str], state: Path, options: RunOptions
) -> None:
    """Check that what changed the share after *target* is undone: what that found is ours.

    *places* are those of the roots of *target*. Raises FatalError.
    """
    headers = list(list_runs(state))
    unfinished = {undo_target(header) for header in headers if header.is_resumable}
    for header in reversed(headers):
        is_later = (header.created, header.run) > (target.created, target.run)
        if not is_later or undo_target(header) or header.superseded:
            continue
        if header.undone and header.run not in unfinished:
            continue
        same = {header.share, *header.roots} & {target.share, *target.roots}
        if (same or overlap(places, header.places)) and may_have_changed(state, header):
            raise FatalError(
                f"{header.run} changed the share, or a part of it, after {target.run}: undo that "
                f"one first, with `{options.command('undo', header.run)}`"
            )


# -- the share of an earlier run


def open_earlier_share(header: RunHeader, options: RunOptions) -> Share:
    """Open the share of an earlier run, where it was or where the options say it is now.

    Raises ShareError if it is not there, or is another one.
    """
    where = options.path or header.path
    remote = kind_of(header).past_mount
    try:
        share = open_share(os.fsencode(where), remote=remote, domain=options.domain)
    except ShareError as error:
        raise ShareError(f"{error}; if it is mounted elsewhere now, say where: --path") from None
    if share.identity != header.share:
        share.close()
        raise ShareError(
            f"{quoted(os.fsencode(where))} is not the share of {header.run}: "
            "if that is mounted elsewhere now, say where: --path"
        )
    return share
