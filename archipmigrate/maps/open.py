"""Opens the maps and locks of a share for a run, with what it keeps in the state directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ShareError
from ..jobs.kind import Opening, Purpose
from ..jobs.registry import is_of, kind_named, undo_target
from ..journal.runs import list_runs, open_run
from ..journal.store import RunHeader
from ..share import Share, identity_of
from ..tree.beneath import PIN_DIRECTORY
from ..tree.files import Tree
from .blocker.files import files_of
from .blocker.locks import Locks, holder_string
from .blocker.objects import Objects
from .blocker.store import Store
from .blocker.volume_files import KnownSizes
from .format.codec import codec_of
from .journal.old_maps import SUFFIX as KEPT
from .journal.old_maps import OldMaps
from .settings import JOB, MapfilesSettings, open_lock_directory


@dataclass(frozen=True, slots=True)
class OpenStore:
    """An open store; `name` is its codec's."""

    store: Store
    name: str

    def close(self) -> None:
        """Close what the store has open, except the share."""
        if self.store.locks.flat:
            os.close(self.store.locks.tree.root)
        if self.store.objects is not None:
            os.close(self.store.objects.tree.root)
        if self.store.old_maps is not None:
            self.store.old_maps.close()


def open_store(
    opening: Opening[MapfilesSettings], sizes: KnownSizes, undo: RunHeader | None = None
) -> OpenStore:
    """Open maps and locks for a run, or for the *undo* of one.

    A run without a name is a dry run. Raises BackendMissing, ShareError, JournalError.
    """
    share, settings, state = opening.share, opening.settings, opening.state
    header = undo or opening.header
    codec = codec_of(opening.options.backend)
    maps = Tree(share.fd, settings.owner)
    locks = maps
    if settings.locks:
        locks = Tree(find_lock_directory(share, settings), settings.owner)
    old_maps = None
    if header.run and settings.keep:
        old_maps = OldMaps(state / f"{opening.header.run}{KEPT}", make=undo is None)
    ours = holder_string(header.host, header.run)
    dead = frozenset(_dead(state, share, every=not header.run))
    store = Store(
        maps,
        Locks(locks, bool(settings.locks), ours, dead - {ours}),
        sizes,
        codec,
        files_of(opening.options.backend),
        opening.header.run,
        old_maps,
        settings.keep,
        _objects(share, settings) if opening.purpose is not Purpose.SETTLE else None,
        settings.v03_stopped,
    )
    return OpenStore(store, codec.name)


def _objects(share: Share, settings: MapfilesSettings) -> Objects | None:
    """Open the directory of objects: where it was, or beside the share if that is elsewhere now.

    None if the run has none. Raises ShareError.
    """
    if not settings.blocks:
        return None
    for path in _here_or_beside(share, settings.blocks):
        with suppress(OSError):
            fd = os.open(path, PIN_DIRECTORY & ~os.O_NOFOLLOW)
            return Objects(Tree(fd), settings.check)
    raise ShareError(
        f"the directory of objects {settings.blocks} is missing; without it nothing says whether "
        "v0.4 finds the objects of a volume: mount it where it was"
    )


def _here_or_beside(share: Share, path: str) -> tuple[str, str]:
    """Return a path, and the one of its last name beside the share."""
    beside = os.path.dirname(os.fsdecode(share.path))
    return path, os.path.join(beside, os.path.basename(path))


@dataclass(frozen=True, slots=True)
class MapsRun:
    """A run over maps, or the undo of one, of this share: what it writes into its locks.

    One that is half done has unsettled changes.
    """

    header: RunHeader
    holder: bytes
    is_half_done: bool


def runs_of_maps(state: Path, share: Share) -> Iterator[MapsRun]:
    """Yield the runs over maps that have a journal, and all undos. Raises JournalError."""
    kind = kind_named(JOB)
    for header in list_runs(state):
        if header.share != share.identity or not (undo_target(header) or is_of(header, kind)):
            continue
        journal = open_run(state, header.run)
        try:
            is_half_done = bool(journal.unsettled())
        finally:
            journal.close(fold=False)
        yield MapsRun(header, holder_string(header.host, header.run), is_half_done)


def _dead(state: Path, share: Share, *, every: bool) -> Iterator[bytes]:
    """Yield the lock strings of earlier runs on this share, none of which is running any more.

    A run with unsettled changes keeps its locks, for nobody may open those volumes: its string is
    yielded only with *every*.
    """
    for found in runs_of_maps(state, share):
        if every or undo_target(found.header) or not found.is_half_done:
            yield found.holder


def find_lock_directory(share: Share, settings: MapfilesSettings) -> int:
    """Open the lock directory: where it was, or beside the share if that is mounted elsewhere now.

    Raises ShareError.
    """
    for path in _here_or_beside(share, settings.locks):
        try:
            fd = open_lock_directory(path)
        except ShareError:
            continue
        if identity_of(fd) == settings.locks_identity:
            return fd
        os.close(fd)
    raise ShareError(
        f"the lock directory {settings.locks} is missing, or is not the one that the run began "
        "with; without it nothing keeps the daemons off a volume. If they use another one now, "
        "name it to `archipmigrate undo` or `resume`: --locks DIR"
    )
