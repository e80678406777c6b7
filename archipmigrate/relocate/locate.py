"""Where blocks and maps are, and whose new directories become: by options or a configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from ..config.blocker import OF_BLOCKS, OF_MAPS, read_config
from ..config.files import CONFIG, read_text
from ..errors import UsageError
from ..maps.locate import gid_of, uid_of
from ..perms.settings import resolve_group, resolve_user
from ..share import overlap, places_at
from .settings import TREE_ADVICE, RelocateSettings, directory_identity


@dataclass(frozen=True, slots=True)
class Places:
    """What the user said: a configuration, or both directories; and what takes precedence."""

    config: Path | None = None
    blocks: str | None = None
    maps: str | None = None
    owner: str | None = None
    group: str | None = None
    umask: int | None = None
    pithos_blocks: str | None = None
    pithos_maps: str | None = None
    remove_source: bool = False
    pithos_migrate: bool = False


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
    _check_apart(blocks, settings.maps)
    settings = _with_trees(_preferred(settings, places), places)
    for tree in settings.trees.values():
        for path in (blocks, settings.maps):
            if overlap(places_at(tree.path), places_at(path)):
                raise UsageError(
                    f"{tree.path} is the directory {path}, or above or below it: Pithos' objects "
                    "are where v0.4 looks already"
                )
    return blocks, settings


def _check_apart(blocks: str, maps: str) -> None:
    """Check that these are the directories of two blockers, not of a site. Raises UsageError."""
    for path, name in ((blocks, "blocks"), (maps, "maps")):
        if os.path.isdir(inner := os.path.join(path, name)):
            raise UsageError(
                f"{path} has {name} in a directory of that name, not itself: did you mean {inner}?"
            )
    if (os.path.basename(blocks), os.path.basename(maps)) == ("maps", "blocks"):
        raise UsageError(f"blocks in {blocks} and maps in {maps}: did you mean it the other way?")
    if overlap(places_at(blocks), places_at(maps)):
        raise UsageError(
            f"blocks in {blocks}, maps in {maps}: each has a directory of its own, not one in the "
            "other"
        )


def _with_trees(settings: RelocateSettings, places: Places) -> RelocateSettings:
    if places.remove_source and not (places.pithos_blocks or places.pithos_maps):
        raise UsageError("--remove-source goes with --pithos-blocks or --pithos-maps")
    for name in ("pithos_blocks", "pithos_maps"):
        path = getattr(places, name)
        if path == "":
            raise UsageError(f"--{name.replace('_', '-')} needs the name of a directory")
        if path is not None:
            identity = directory_identity(path, TREE_ADVICE)
            tree = {name: os.path.abspath(path), f"{name}_identity": identity}
            settings = replace(settings, **tree)
    return replace(
        settings, remove_source=places.remove_source, pithos_migrate=places.pithos_migrate
    )


def _settings(maps: str) -> RelocateSettings:
    maps = os.path.abspath(maps)
    return RelocateSettings(maps, directory_identity(maps))


def _configured(path: Path) -> tuple[str, RelocateSettings]:
    try:
        text = read_text(path)
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
