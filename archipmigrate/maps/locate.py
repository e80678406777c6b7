"""Where maps and locks are, and who owns new files: by v0.4's configuration, or by directories."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from pathlib import Path

from ..config.blocker import BlockerConfig, read_config
from ..config.files import CONFIG, read_text
from ..errors import FatalError, ShareError, UsageError
from ..layout.names import Role, parse_name
from ..ui.text import quoted
from .blocker.locks import clash, holder_string
from .settings import MapfilesSettings, lock_directory_identity

BLOCKS = "blocks"  # beside the maps
LOCKS = ("locks", "lock")  # the upgrade guide has both


def locate_maps(
    config: Path | None = None,
    maps: str | None = None,
    locks: str | None = None,
    blocks: str | None = None,
) -> tuple[str, MapfilesSettings]:
    """Return the maps directory and the settings that go with it.

    Either *maps* is given, with *locks* if there is a lock directory, or they are what the
    configuration says (None: the usual one). *blocks* is the directory of objects; None: what the
    configuration says, or `blocks` beside the maps, if that is there. Raises UsageError,
    FatalError, ShareError.
    """
    if "" in (maps, locks, blocks):
        raise UsageError(
            "--maps, --locks and --blocks need the name of a directory, not an empty one"
        )
    maps, settings = _located(config, maps, locks)
    return maps, replace(settings, blocks=_blocks(maps, settings.blocks, blocks))


def _blocks(maps: str, configured: str, given: str | None) -> str:
    """Return the directory of objects; "" if none is there. Raises ShareError."""
    if given is not None:
        if not os.path.isdir(given):
            raise ShareError(f"--blocks {given}: no directory is there")
        return os.path.abspath(given)
    beside = os.path.join(os.path.dirname(os.path.abspath(maps)), BLOCKS)
    return next((path for path in (configured, beside) if path and os.path.isdir(path)), "")


def _located(
    config: Path | None, maps: str | None, locks: str | None
) -> tuple[str, MapfilesSettings]:
    """Return what `locate_maps` does; `blocks` is what the configuration says, there or not."""
    if maps is not None:
        if config:
            raise UsageError("give either --maps or --config, not both")
        inner = os.path.join(maps, "maps")
        if os.path.isdir(inner):
            where = quoted(os.fsencode(inner))
            raise UsageError(
                f"{quoted(os.fsencode(maps))} has maps in a directory of that name, "
                f"not itself: did you mean {where}?"
            )
        locks = os.path.abspath(locks) if locks else ""
        if not locks:
            _check_no_lock_directory(maps)
        return maps, MapfilesSettings(locks, lock_directory_identity(locks))
    if locks:
        raise UsageError("--locks goes with --maps; a configuration names its lock directory")
    return _configured(config)


def configured_blocker(path: Path | None = None) -> tuple[Path, BlockerConfig]:
    """Read the blocker of maps in a configuration (None: the usual one); return both.

    Raises UsageError, whose text names the file.
    """
    path = path or CONFIG
    try:
        text = read_text(path)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}: name the configuration with --config, or the directories "
            "with --maps DIR [--locks DIR]"
        ) from None
    try:
        return path, read_config(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _configured(path: Path | None) -> tuple[str, MapfilesSettings]:
    path, config = configured_blocker(path)
    if config.unique_str and clash(holder_string("", "")[:-1], [config.unique_str.encode()]):
        raise FatalError(
            f"{path}: unique_str = {config.unique_str}: its locks and ours could be taken for each "
            "other: change it"
        )
    locks = config.lock_dir or ""
    settings = MapfilesSettings(
        locks,
        lock_directory_identity(locks),
        config.umask,
        uid_of(config.user, path),
        gid_of(config.group, path),
        blocks=config.blocks_dir or "",
    )
    return config.archip_dir, settings


def _check_no_lock_directory(maps: str) -> None:
    """Check that this node's configuration, if it is of these maps, has no lock directory either.

    Daemons that take their locks elsewhere would not see ours. Raises UsageError.
    """
    try:
        config = read_config(read_text(CONFIG))
        same = os.path.samefile(config.archip_dir, maps)
    except (OSError, UsageError):
        return  # there is no configuration, or it is of maps that are not here
    if same and config.lock_dir:
        where = quoted(os.fsencode(config.lock_dir))
        raise UsageError(f"{CONFIG} has the locks of these maps in {where}: add --locks {where}")


def check_no_locks_beside(maps: str) -> None:
    """Check that no lock directory with locks in it lies beside maps whose locks are among them.

    Raises UsageError.
    """
    places = {os.path.dirname(path) for path in (os.path.abspath(maps), os.path.realpath(maps))}
    for beside in (os.path.join(place, name) for place in sorted(places) for name in LOCKS):
        if _has_locks(beside):
            where = quoted(os.fsencode(beside))
            raise UsageError(
                f"{where}, beside the maps, has locks in it, and daemons that take theirs there "
                f"would not see ours: add --locks {where}"
            )


def _has_locks(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(
                parse_name(os.fsencode(entry.name)).role in (Role.LOCK, Role.LOCK_PART)
                for entry in entries
                if not entry.is_dir(follow_symlinks=False)
            )
    except OSError:  # none, or one that this user cannot read
        return False


def uid_of(name: str, path: Path) -> int:
    """Return the uid of a user that the configuration *path* names. Raises FatalError."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise FatalError(f"{path}: there is no user {name} on this host: create it first") from None


def gid_of(name: str, path: Path) -> int:
    """Return the gid of a group that the configuration *path* names. Raises FatalError."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise FatalError(
            f"{path}: there is no group {name} on this host: create it first"
        ) from None
