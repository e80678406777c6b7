"""The runs in a state directory: make, find and forget them. A run is one journal file."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from glob import escape
from math import inf
from pathlib import Path
from time import time

from xxhash import xxh3_64_hexdigest

from ..errors import JournalError, UsageError
from ..share import Share
from .location import sync_directory
from .store import OVER_SUFFIX, SUFFIX, Journal, RunHeader

# Beside the journal: of which share it is, should the journal ever be unreadable.
SHARE_SUFFIX = f"{SUFFIX}-share"
# A journal that is being made. What a kill leaves of it was never a run.
NEW_SUFFIX = f"{SUFFIX}-new"
LEFTOVER_AGE = 86_400  # seconds after which nobody is making it any more


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A journal that cannot be read, or is not that of the run whose name its file has.

    `why` names the file. `share` is the identity of the share that the journal is of; "" if that is
    not known.
    """

    run: str
    why: str
    share: str = ""


@dataclass(frozen=True, slots=True)
class Runs:
    """What is in a state directory: headers, oldest first, and what cannot be read."""

    headers: list[RunHeader]
    unreadable: list[Unreadable]


def new_run(
    state: Path,
    job: str,
    share: Share,
    settings: dict[str, object],
    roots: Mapping[str, str] | None = None,
    places: Sequence[str] = (),
) -> Journal:
    """Make the journal of a new run; its header is durable.

    Until all of it is there it has another name: a kill leaves a run, or none. *roots* and *places*
    are those of `RunHeader`. Raises JournalError.
    """
    _remove_leftovers(state)
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
        places=list(places),
    )
    new, path = state / f"{run}{NEW_SUFFIX}", state / f"{run}{SUFFIX}"
    try:
        with closing(Journal(new, new=True)) as journal:
            journal.commit([lambda j: j.write_header(header)])
        if new.with_name(f"{new.name}-wal").exists():  # closing could not write it into the file
            raise JournalError(f"the journal {path} cannot be written: make room there")
        _write_share(state / f"{run}{SHARE_SUFFIX}", run, share.identity)
        _rename(new, path)
    except JournalError:
        _remove(state.glob(f"{escape(new.name)}*"))
        raise
    return Journal(path, new=False)


def _rename(new: Path, path: Path) -> None:
    """Give a journal its name, durably. Raises JournalError."""
    try:
        new.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None


def _remove_leftovers(state: Path) -> None:
    """Remove journals that somebody was killed while making."""
    _remove(state.glob(f"*{NEW_SUFFIX}*"), older_than=time() - LEFTOVER_AGE)


def _remove(paths: Iterable[Path], older_than: float = inf) -> None:
    for path in paths:
        with suppress(OSError):
            if path.stat().st_mtime < older_than:
                path.unlink()


def _write_share(path: Path, run: str, identity: str) -> None:
    """Write down, durably, which share a run is of. Raises JournalError."""
    content = _share_line(run, identity)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)
        sync_directory(path.parent)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from None


def _read_share(path: Path, run: str) -> str:
    """Return the identity of the share that a run is of; "" if that is not known."""
    try:
        content = path.read_bytes()
        identity = content[:-1].split(b" ", 1)[1].decode()
    except (OSError, IndexError, UnicodeDecodeError):
        return ""
    return identity if content == _share_line(run, identity) else ""


def _share_line(run: str, identity: str) -> bytes:
    checksum = xxh3_64_hexdigest(f"{run} {identity}".encode())
    return f"{checksum} {identity}\n".encode()


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
    """Yield the headers of the runs whose journals can be read, oldest first.

    For what only makes sense of those; who has to tell the user of the others calls `read_runs`.
    """
    yield from read_runs(state).headers


def resumable_runs(state: Path) -> Iterator[RunHeader]:
    """Yield the headers of the runs that can be resumed, and whose journals can be read.

    Journals of runs that are over are not opened, however many there are.
    """
    names = set(os.listdir(state)) if state.is_dir() else set()
    for name in sorted(names):
        run = name.removesuffix(SUFFIX)
        if run == name or f"{run}{OVER_SUFFIX}" in names:
            continue
        with suppress(JournalError):
            header = _read_header(state / name)
            if header.run == run and header.is_resumable:
                yield header


def read_runs(state: Path) -> Runs:
    """Return all runs of a state directory, also those whose journals cannot be read.

    A journal that has another's name is not that run's: a renamed one, one of two that were
    swapped, or a copy.
    """
    headers, unreadable, misplaced = [], [], []
    for path in sorted(state.glob(f"*{SUFFIX}")):
        try:
            header = _read_header(path)
        except JournalError as error:
            share = _read_share(path.with_name(f"{path.stem}{SHARE_SUFFIX}"), path.stem)
            unreadable.append(Unreadable(path.stem, str(error), share))
            continue
        if header.run == path.stem:
            headers.append(header)
        else:
            why = f"{path} is not the journal of that run, but of {header.run}: rename it back"
            misplaced.append((header.run, Unreadable(path.stem, why, header.share)))
    placed = {header.run for header in headers}
    for run, found in misplaced:  # a copy holds nothing that is not in the journal itself
        unreadable.append(replace(found, share="") if run in placed else found)
    return Runs(sorted(headers, key=lambda h: (h.created, h.run)), unreadable)


def _read_header(path: Path) -> RunHeader:
    journal = Journal(path, new=False)
    try:
        return journal.read_header()
    finally:
        journal.close(fold=False)


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
    freed = run_bytes(state, run)
    for path in _files(state, run):
        path.unlink()
    return freed


def run_bytes(state: Path, run: str) -> int:
    """Return the bytes that a run's journal takes, including its write-ahead log."""
    return sum(path.stat().st_size for path in _files(state, run))


def _files(state: Path, run: str) -> Iterator[Path]:
    return state.glob(f"{escape(run)}{SUFFIX}*")
