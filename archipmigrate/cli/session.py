"""What commands that run a job share: state, lock, journal, backend, report, exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from ..backend.base import Backend
from ..backend.python import PythonBackend
from ..backend.select import CALLS, REMOTE_LANES, is_python, open_backend
from ..engine import session as engine
from ..engine.job import Job, S
from ..engine.limits import UNIT_SECONDS
from ..engine.loop import run_loop
from ..engine.session import Lanes, Result
from ..errors import FatalError, ShareError, StateError, UsageError
from ..journal.location import (
    SPARE_BYTES,
    check_place,
    default_state,
    estimated_bytes,
    runtime_directory,
    secure_directory,
    spare_bytes,
)
from ..journal.lock import ShareLock
from ..journal.runs import list_runs, new_run, open_run, supersede_run
from ..journal.store import Journal, RunHeader
from ..model import Tally
from ..share import Share, open_share, unanswered
from ..share.bypass import label
from ..ui.report import Report
from ..ui.summary import Facts
from ..ui.text import count, quoted
from .options import AUTO

EXIT = {"done": 0, "stopped": 1, "failures": 3, "drift": 4}
NFS_JOBS = 8
MOST_JOBS = 64
MOST_LOCAL = 8  # lanes a core: for a cold disk


class Works(Protocol):
    """What a job works through: a backend, or something like it."""

    @property
    def name(self) -> str:
        """What users call it."""

    def close(self) -> None:
        """Give up what it has open."""


@dataclass(slots=True)
class Session:
    """One run of a job: what it works on, and what it reports to."""

    share: Share
    backend: Works
    journal: Journal
    header: RunHeader
    lanes: Lanes
    report: Report
    retry: bool = False

    def run(self, job: Job[S]) -> tuple[Result, Tally, float]:
        """Run the job; return how it ended, the counts of all sessions, this one's seconds.

        Nothing holds the share open after that.
        """
        began = monotonic()
        run = engine.Session(
            job, self.journal, self.header, self.lanes, self.report, retry=self.retry
        )
        try:
            result = run_loop(run.execute)
        finally:
            self._remark()
            self.backend.close()
            self.share.close()
        return result, run.counters.tally, monotonic() - began

    def _remark(self) -> None:
        """Say what is to be known of the way in which the share was spoken to."""
        remark = getattr(self.backend, "remark", "") or self.share.remark
        if remark:
            self.report.remark(remark)


def summary_object(
    session: Session, status: str, tally: Tally, seconds: float, **more: object
) -> dict[str, object]:
    """Return the last JSON line."""
    version = _version(session)
    return {
        "type": "summary",
        "job": session.header.job,
        "run": session.header.run,
        "share": os.fsdecode(session.share.path).encode(errors="replace").decode(),
        "backend": session.backend.name,
        **({"nfs_version": version} if version else {}),
        "status": status,
        **tally.as_dict(),
        "seconds": round(seconds, 3),
        "resumed": session.header.sessions > 1,
        **more,
    }


def _version(session: Session) -> int:
    """Return the version of NFS that was spoken in the end; 0 if none was."""
    return int(getattr(session.backend, "version", 0))


def facts_of(session: Session, result: Result, tally: Tally, seconds: float, **more: Any) -> Facts:
    """Return what the summary words; *more* are fields of `Facts`."""
    header = session.header
    share = session.share
    path = os.fsdecode(share.path)
    way = "through the mount" if share.is_nfs else ""
    if version := _version(session):
        way = f"directly by {label(version)}"
    return Facts(
        header.job, header.run, path, result.status, result.reason, tally, seconds, way=way, **more
    )


def state_option(args: argparse.Namespace) -> list[str]:
    """Return --state as it was given, for commands that are to find the same runs."""
    return ["--state", str(args.state.absolute())] if args.state else []


def shown_command(args: argparse.Namespace, command: str, run_name: str) -> str:
    """Return a command over a run to copy: with the state directory in which that is found."""
    return shlex.join(["archipmigrate", command, run_name, *state_option(args)])


def exit_status(result: Result, status: str) -> int:
    """Return the exit status for how a session ended."""
    return 128 + result.signal if result.signal else EXIT[status]


def state_directory(args: argparse.Namespace, share: Share | None = None) -> Path:
    """Return the state directory, made and checked. Raises StateError."""
    place = args.state or default_state()
    check_place(place, share)
    return secure_directory(place)


def check_room(state: Path, share: Share, report: Report) -> None:
    """Refuse a full state disk; warn of one where a journal of the whole share may not fit."""
    spare = spare_bytes(state)
    if spare < SPARE_BYTES:
        raise StateError(
            f"{state} has less than {SPARE_BYTES >> 20} MiB left: make room, or use --state"
        )
    needed = estimated_bytes(share)
    if needed > spare:
        report.remark(
            f"{state} has {spare >> 20:,} MiB left; if the share has all the inodes of its "
            f"filesystem, its journal takes up to {needed >> 20:,} MiB (the run stops cleanly then)"
        )


@contextlib.contextmanager
def locked(state: Path, share: Share) -> Iterator[ShareLock]:
    """Hold the share against other runs on this host. Raises Busy."""
    directory = secure_directory(runtime_directory(state))
    lock = ShareLock(directory, share.identity, os.fsdecode(share.path))
    try:
        yield lock
    finally:
        lock.release()


def find_or_make(
    args: argparse.Namespace,
    share: Share,
    job: str,
    settings: dict[str, object],
    report: Report,
) -> Journal:
    """Return the journal of the run to resume, or of a new one. Raises FatalError."""
    state = state_directory(args, share)
    runs = [header for header in list_runs(state) if header.share == share.identity]
    superseded = []
    for header in reversed(runs):
        if header.job == "undo" and header.is_resumable:
            raise FatalError(_refusal(args, header))
        if header.job != job or not header.is_resumable:
            continue
        if args.fresh:
            superseded.append(header.run)
        elif header.settings == settings:
            journal = open_run(state, header.run)
            done = journal.tally().entries
            report.remark(
                f"resuming {header.run} ({header.status}, {count(done, 'entry')} done): "
                "--fresh would start over"
            )
            return journal
        else:
            report.remark(
                f"{header.run} is unfinished, but has other options: starting anew beside it "
                f"(`{shown_command(args, 'resume', header.run)}` goes on with it)"
            )
    journal = new_run(state, job, share, settings)
    for run_name in superseded:
        supersede_run(state, run_name, journal.read_header().run)
    return journal


def _refusal(args: argparse.Namespace, undo: RunHeader) -> str:
    """Word that an undo is unfinished; one of mapfiles cannot be dropped: it may hold locks."""
    resume = shown_command(args, "resume", undo.run)
    words = f"the undo {undo.run} is unfinished: finish it with `{resume}`"
    is_of_perms = str(undo.settings["of"]).startswith("perms-")
    forget = shown_command(args, "forget", undo.run)
    return f"{words}, or drop it with `{forget}`" if is_of_perms else words


def share_of(header: RunHeader, path: str | None, domain: str) -> Share:
    """Open the share of an earlier run, where it was or at *path*. Raises ShareError.

    *domain* is that of its owners' names, if it is not the one of the URL.
    """
    where = path or header.path
    try:
        share = open_share(os.fsencode(where), remote=header.job != "mapfiles", domain=domain)
    except ShareError as error:
        raise ShareError(f"{error}; if it is mounted elsewhere now, say where: --path") from None
    if share.identity != header.share:
        share.close()
        raise ShareError(
            f"{quoted(os.fsencode(where))} is not the share of {header.run}: "
            "if that is mounted elsewhere now, say where: --path"
        )
    return share


def calls_of(args: argparse.Namespace) -> int:
    """Return how many calls may be in flight where lanes share them: what --jobs says."""
    return CALLS if args.jobs == AUTO else int(args.jobs)


def choose_lanes(args: argparse.Namespace, share: Share) -> Lanes:
    """Return how many lanes serve this share, and how long their units are."""
    cores = os.cpu_count() or 1
    first, most = (NFS_JOBS, MOST_JOBS) if share.is_nfs else (cores, MOST_LOCAL * cores)
    if share.opened is not None:
        first = most = min(REMOTE_LANES, calls_of(args))
    elif args.jobs != AUTO:
        first = most = args.jobs
    return Lanes(first, UNIT_SECONDS, max(first, most), getattr(args, "max_ops", None) or 0)


def choose_backend(args: argparse.Namespace, share: Share) -> tuple[Backend, Lanes]:
    """Open the backend; in Python, on a local disk, a lane is a process, and one a core is enough.

    Where there is but one process it gets one lane: two would wait for each other.
    """
    lanes = choose_lanes(args, share)
    fixed = is_python(args.backend, share) and not share.is_nfs and args.jobs == AUTO
    if fixed:
        lanes = replace(lanes, most=lanes.jobs)
    try:
        backend = open_backend(args.backend, share, lanes.most, calls_of(args))
    except OSError as error:
        raise unanswered(os.fsdecode(share.path), error) from None
    if fixed and isinstance(backend, PythonBackend):
        lanes = replace(lanes, jobs=1, most=1)
    return backend, lanes


def find_run(state: Path, run: str | None, jobs: tuple[str, ...], wanted: str) -> RunHeader:
    """Return the header of a run: the one named, or the latest that is *wanted* (see the callers).

    Raises UsageError.
    """
    every = list(list_runs(state))
    runs = [header for header in every if header.job in jobs]
    if run is not None:
        found = next((header for header in runs if header.run == run), None)
        if found is None:
            known = ", ".join(header.run for header in runs) or "none"
            raise UsageError(f"no run {run!r} in {state} (there: {known})")
        return found
    unfinished = {header.run for header in every if header.is_resumable}
    undoing = {header.settings.get("of") for header in every if header.is_resumable}
    fitting = {
        "unfinished": [header for header in runs if header.run in unfinished],
        # The same command goes on with an undo that was cut off, and repeats one that failed.
        "not undone": [
            h for h in runs if not h.undone or h.run in undoing or _has_failed(state, h.undone)
        ],
        "unfinished or has failures": [
            header
            for header in runs
            if header.run in unfinished or (header.status == "failures" and not header.undone)
        ],
    }[wanted]
    if not fitting:
        raise UsageError(f"there is no run in {state} that is {wanted}")
    if wanted == "not undone":  # one that found nothing to change is not what is meant
        changed = (header for header in reversed(fitting) if _has_changed(state, header.run))
        return next(changed, fitting[-1])
    return fitting[-1]


def _has_failed(state: Path, undo: str) -> bool:
    """Whether something could not be put back by an undo (what somebody else changed aside)."""
    try:
        journal = open_run(state, undo)
    except UsageError:  # forgotten
        return False
    try:
        return journal.tally().failed > 0
    finally:
        journal.close(fold=False)


def _has_changed(state: Path, run: str) -> bool:
    """Whether a run may have changed something."""
    journal = open_run(state, run)
    try:
        return next(journal.batches(), None) is not None
    finally:
        journal.close(fold=False)
