"""The runs in a state directory: make, find and forget them. A run is one journal file."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ..errors import JournalError, UsageError
from ..share import Share
from .store import SUFFIX, Journal, RunHeader


def new_run(
    state: Path,
    job: str,
    share: Share,
    settings: dict[str, object],
    roots: Mapping[str, str] | None = None,
) -> Journal:
    """Make the journal of a new run; its header is durable. *roots* are those of `RunHeader`."""
    now = datetime.now(UTC)
    run = _new_name(state, f"{job}-{now:%Y%m%dT%H%M%S}")
    header = RunHeader(
        run,
        job,
        share.identity,
        share.path.decode(errors="surrogateescape"),
        now.isoformat(timespec="microseconds"),  # runs of one second have an order, too
        settings,
        host=socket.gethostname(),
        roots=dict(roots or {}),
    )
    journal = Journal(state / f"{run}{SUFFIX}", new=True)
    journal.commit([lambda j: j.write_header(header)])
    return journal


def _new_name(state: Path, start: str) -> str:
    """Return a name that no run has."""
    while (state / f"{(run := f'{start}-{secrets.token_hex(2)}')}{SUFFIX}").exists():
        pass
    return run


def open_run(state: Path, run: str) -> Journal:
    """Open the journal of a run. Raises UsageError if there is none of that name."""
    path = state / f"{run}{SUFFIX}"
    if "/" in run or not path.is_file():
        raise UsageError(f"no run {run!r} in {state}: see what there is with ls {state}")
    return Journal(path, new=False)


def list_runs(state: Path) -> Iterator[RunHeader]:
    """Yield the headers of the runs in a state directory, oldest first; skip damaged ones."""
    headers = []
    for path in state.glob(f"*{SUFFIX}"):
        with contextlib.suppress(JournalError):
            journal = Journal(path, new=False)
            try:
                headers.append(journal.read_header())
            finally:
                journal.close(fold=False)
    yield from sorted(headers, key=lambda h: (h.created, h.run))


def supersede_run(state: Path, run: str, successor: str) -> None:
    """Note that a run is not to be resumed, because *successor* was begun in its place."""
    journal = open_run(state, run)
    try:
        header = journal.read_header()
        header.superseded = successor
        journal.commit([lambda j: j.write_header(header)])
    finally:
        journal.close()


def forget_run(state: Path, run: str) -> int:
    """Delete the journal of a run; return the bytes that it took."""
    open_run(state, run).close()
    freed = run_bytes(state, run)
    for path in state.glob(f"{run}{SUFFIX}*"):
        path.unlink()
    return freed


def run_bytes(state: Path, run: str) -> int:
    """Return the bytes that a run's journal takes, including its write-ahead log."""
    return sum(path.stat().st_size for path in state.glob(f"{run}{SUFFIX}*"))
