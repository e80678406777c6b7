"""Where maps and locks are, and for whom files are made: from a configuration or options."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import FatalError, ShareError, UsageError
from ..journal.runs import list_runs, open_run
from ..journal.store import RunHeader
from ..maps.blocker.locks import Locks, clash, holder_string
from ..maps.blocker.store import Store
from ..maps.blocker.volume_files import KnownSizes
from ..maps.config import read_config
from ..maps.format.codec import codec_of
from ..maps.journal.old_maps import SUFFIX as KEPT
from ..maps.journal.old_maps import OldMaps
from ..share import Share, identity_of
from ..tree.files import Owner, Tree
from ..ui.text import quoted
from . import options

CONFIG = Path("/etc/archipelago/archipelago.conf")
UMASK = 0o007


@dataclass(frozen=True, slots=True)
class Blocker:
    """What must be the same for a run over mapfiles to be resumed, beside the maps directory.

    `locks` is the lock directory ("": none) and `locks_identity` what it is, wherever it is
    mounted; `uid` and `gid` are None where new files belong to whoever runs this. `sizes` is the
    digest of the sizes given.
    """

    locks: str
    locks_identity: str
    umask: int
    uid: int | None
    gid: int | None
    check: bool = False
    keep: bool = True
    sizes: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return what the journal's header keeps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: dict[str, object]) -> Blocker:
        """Read what `as_dict` gave."""
        return cls(**kept)  # type: ignore[arg-type]

    @property
    def owner(self) -> Owner | None:
        """Who new files belong to."""
        return None if self.uid is None or self.gid is None else Owner(self.uid, self.gid)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store; `name` is its codec's."""

    store: Store
    name: str

    def close(self) -> None:
        """Close what the store has open, but for the share."""
        if self.store.locks.flat:
            os.close(self.store.locks.tree.root)
        if self.store.old_maps is not None:
            self.store.old_maps.close()


def add_place(parser: options.Parser, **more: object) -> None:
    """Add what says where the maps and locks are; *more* goes to every option."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"v0.4's configuration, section [blockerm] (default: {CONFIG})",
        **more,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--maps",
        metavar="DIR",
        help="the maps directory, without a configuration: umask 007, files belong to the caller",
        **more,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--locks",
        metavar="DIR",
        help="the lock directory that goes with --maps (default: locks lie among the maps)",
        **more,  # type: ignore[arg-type]
    )


def find_blocker(args: argparse.Namespace) -> tuple[str, Blocker]:
    """Return the maps directory and the settings that the options, or the configuration, give.

    Raises UsageError, FatalError, ShareError.
    """
    if "" in (args.maps, args.locks):
        raise UsageError("--maps and --locks: an empty name is no directory")
    if args.maps is not None:
        if args.config:
            raise UsageError("--maps and --config: give one of them")
        locks = os.path.abspath(args.locks) if args.locks else ""
        if not locks:
            _check_no_lock_directory(args.maps)
        return args.maps, Blocker(locks, _identity(locks), UMASK, None, None)
    if args.locks:
        raise UsageError("--locks goes with --maps; a configuration says itself where locks are")
    path = args.config or CONFIG
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}: say where the configuration is (--config), or where the "
            "maps are (--maps DIR [--locks DIR])"
        ) from None
    try:
        config = read_config(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if config.unique_str and clash(holder_string("", "")[:-1], [config.unique_str.encode()]):
        raise FatalError(
            f"{path}: unique_str = {config.unique_str}: its locks and ours could be taken for each "
            "other: change it"
        )
    locks = config.lock_dir or ""
    uid, gid = _uid(config.user, path), _gid(config.group, path)
    return config.archip_dir, Blocker(locks, _identity(locks), config.umask, uid, gid)


def _check_no_lock_directory(maps: str) -> None:
    """See that this node's configuration, if it is of these maps, has no lock directory either.

    Daemons that take their locks elsewhere would not see ours. Raises UsageError.
    """
    try:
        config = read_config(CONFIG.read_text(encoding="utf-8", errors="surrogateescape"))
        same = os.path.samefile(config.archip_dir, maps)
    except (OSError, UsageError):
        return  # there is none, or it is of no maps that are here
    if same and config.lock_dir:
        where = quoted(os.fsencode(config.lock_dir))
        raise UsageError(f"{CONFIG} has the locks of these maps in {where}: add --locks {where}")


def blocker_of(args: argparse.Namespace, header: RunHeader) -> Blocker:
    """Return the settings of an earlier run, with the lock directory that is named now, if any.

    Raises ShareError.
    """
    kept = Blocker.from_dict(header.settings)
    if not (locks := getattr(args, "locks_now", None)):
        return kept
    path = os.path.abspath(locks)
    return replace(kept, locks=path, locks_identity=_identity(path))


def _uid(name: str, path: Path) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise FatalError(f"{path}: there is no user {name} on this host: make it first") from None


def _gid(name: str, path: Path) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise FatalError(f"{path}: there is no group {name} on this host: make it first") from None


def _identity(locks: str) -> str:
    """Return what the lock directory is. Raises ShareError if it is not there."""
    if not locks:
        return ""
    fd = _open_locks(locks)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def _open_locks(path: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ShareError(
            f"the lock directory {path}: {error.strerror}: it must be there, and be the one that "
            "all nodes use"
        ) from None


def open_store(
    share: Share,
    blocker: Blocker,
    header: RunHeader,
    backend: str,
    sizes: KnownSizes,
    state: Path,
    undone: str = "",
) -> Opened:
    """Open maps and locks for a run; one without a name only looks. *undone* is what is put back.

    Raises BackendMissing, ShareError, JournalError.
    """
    codec = codec_of(backend)
    maps = Tree(share.fd, blocker.owner)
    locks = Tree(_lock_directory(share, blocker), blocker.owner) if blocker.locks else maps
    kept = None
    if header.run and blocker.keep:
        kept = OldMaps(state / f"{undone or header.run}{KEPT}", make=not undone)
    ours = holder_string(header.host, header.run)
    dead = frozenset(_dead(state, share, every=not header.run))
    store = Store(
        maps,
        Locks(locks, bool(blocker.locks), ours, dead - {ours}),
        sizes,
        codec,
        undone or header.run,
        kept,
        blocker.keep,
    )
    return Opened(store, codec.name)


def _dead(state: Path, share: Share, *, every: bool) -> Iterable[bytes]:
    """Yield the strings of earlier runs on this share, none of which is at work any more.

    One that left something unsettled keeps its locks, for nobody may open those volumes: it is
    yielded only if *every* run is to be.
    """
    for header in list_runs(state):
        if header.share != share.identity or header.job not in ("mapfiles", "undo"):
            continue
        journal = open_run(state, header.run)
        try:
            if every or header.job == "undo" or not journal.unsettled():
                yield holder_string(header.host, header.run)
        finally:
            journal.close(fold=False)


def _lock_directory(share: Share, blocker: Blocker) -> int:
    """Open the lock directory, also where it lies beside a share that is mounted elsewhere now."""
    beside = os.path.join(os.path.dirname(os.fsdecode(share.path)), os.path.basename(blocker.locks))
    for path in (blocker.locks, beside):
        try:
            fd = _open_locks(path)
        except ShareError:
            continue
        if identity_of(fd) == blocker.locks_identity:
            return fd
        os.close(fd)
    raise ShareError(
        f"the lock directory {blocker.locks} is not there, or is another one than it was; without "
        "it nothing keeps the daemons off a volume. If they use another one by now, give that to "
        "`archipmigrate undo` or `resume`: --locks DIR"
    )
