"""Where blocks and maps are, and whose new directories become: by options or a configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import UsageError
from ..maps.config import OF_BLOCKS, OF_MAPS, read_config
from ..maps.locate import CONFIG, gid_of, uid_of
from ..perms.settings import resolve_group, resolve_user
from .settings import RelocateSettings, directory_identity


@dataclass(frozen=True, slots=True)
class Places:
    """What the user said: a configuration, or both directories; and what takes precedence."""

    config: Path | None = None
    blocks: str | None = None
    maps: str | None = None
    owner: str | None = None
    group: str | None = None
    umask: int | None = None


def locate_objects(places: Places) -> tuple[str, RelocateSettings]:
    """Return the directory of blocks and the settings.

    Raises UsageError, FatalError, ShareError.
    """
    if "" in (places.blocks, places.maps):
        raise UsageError("--blocks and --maps need the name of a directory, not an empty one")
    if (places.blocks is None) != (places.maps is None):
        raise UsageError("--blocks and --maps go together: a blocker of each has a directory")
    if places.blocks is not None and places.maps is not None:
        if places.config:
            raise UsageError("give either --config, or --blocks and --maps, not both")
        blocks, settings = places.blocks, _settings(places.maps)
    else:
        blocks, settings = _configured(places.config or CONFIG)
    if os.path.realpath(blocks) == os.path.realpath(settings.maps):
        raise UsageError(f"blocks and maps are both in {blocks}: each has a directory of its own")
    return blocks, _preferred(settings, places)


def _settings(maps: str) -> RelocateSettings:
    maps = os.path.abspath(maps)
    return RelocateSettings(maps, directory_identity(maps))


def _configured(path: Path) -> tuple[str, RelocateSettings]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}: name the configuration with --config, or the directories "
            "with --blocks DIR --maps DIR"
        ) from None
    try:
        blocks, maps = read_config(text, OF_BLOCKS), read_config(text, OF_MAPS)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    settings = replace(
        _settings(maps.archip_dir),
        blocks_umask=blocks.umask,
        maps_umask=maps.umask,
        uid=uid_of(maps.user, path),
        gid=gid_of(maps.group, path),
    )
    return blocks.archip_dir, settings


def _preferred(settings: RelocateSettings, places: Places) -> RelocateSettings:
    if places.owner is not None:
        settings = replace(settings, uid=resolve_user(places.owner))
    if places.group is not None:
        settings = replace(settings, gid=resolve_group(places.group))
    if places.umask is not None:
        settings = replace(settings, blocks_umask=places.umask, maps_umask=places.umask)
    return settings
