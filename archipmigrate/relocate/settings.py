"""The settings of a run of relocate: where its maps are, and whose new directories become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ShareError
from ..maps.settings import UMASK
from ..packed.moves import Root
from ..share import Share, identity_of
from ..tree.files import DIRECTORY
from ..ui.text import quoted

JOB = "relocate"  # in headers and names of runs
MAPS_ADVICE = "name the directory of the maps"
TREE_ADVICE = "name Pithos' own directory, as PITHOS or PITHOSMAPS of v0.3 has it"
# What headers have had from the beginning.
ALWAYS = ("maps", "maps_identity", "blocks_umask", "maps_umask", "uid", "gid")


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory, and what it is, wherever it is mounted."""

    path: str
    identity: str


@dataclass(frozen=True, slots=True)
class RelocateSettings:
    """What must be the same for a run to be resumed, beside the directory of blocks, its share.

    `maps` is the directory of maps, and `maps_identity` what it is, wherever it is mounted. New
    directories become those of `uid` and `gid`, or (None) of the directory that they are in.
    `pithos_blocks` and `pithos_maps` are Pithos' own trees, "" if there are none: what is in them
    is copied, or moved (`remove_source`). `pithos_migrate` is as v0.4's option of that name.
    `diverged` is the volume whose objects are merged, in the job for that.
    """

    maps: str
    maps_identity: str
    blocks_umask: int = UMASK
    maps_umask: int = UMASK
    uid: int | None = None
    gid: int | None = None
    pithos_blocks: str = ""
    pithos_blocks_identity: str = ""
    pithos_maps: str = ""
    pithos_maps_identity: str = ""
    remove_source: bool = False
    pithos_migrate: bool = False
    diverged: str = ""

    @property
    def trees(self) -> dict[Root, Tree]:
        """Pithos' own trees."""
        trees = {
            Root.PITHOS_BLOCKS: Tree(self.pithos_blocks, self.pithos_blocks_identity),
            Root.PITHOS_MAPS: Tree(self.pithos_maps, self.pithos_maps_identity),
        }
        return {root: tree for root, tree in trees.items() if tree.path}

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps; the later fields only if they are set."""
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in kept.items() if name in ALWAYS or value}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RelocateSettings:
        """Read what `as_dict` returned."""
        return cls(**stored)


def open_directory(path: str, advice: str = MAPS_ADVICE) -> int:
    """Open a root, following a symbolic link there this once. Raises ShareError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except OSError as error:
        shown = quoted(os.fsencode(path))
        raise ShareError(f"{shown}: {error.strerror}: {advice}") from None


def directory_identity(path: str, advice: str = MAPS_ADVICE) -> str:
    """Return what a directory is, wherever it is mounted. Raises ShareError."""
    fd = open_directory(path, advice)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def open_blocks(share: Share) -> int:
    """Open the share, so that it can be listed and synced. Raises ShareError."""
    try:
        return os.open(b".", DIRECTORY, dir_fd=share.fd)
    except OSError as error:
        raise ShareError(f"{quoted(share.path)}: {error.strerror}") from None


def open_tree(tree: Tree) -> int:
    """Open one of Pithos' own trees. Raises ShareError if it is not where it was."""
    fd = open_directory(tree.path, TREE_ADVICE)
    if identity_of(fd) == tree.identity:
        return fd
    os.close(fd)
    raise ShareError(
        f"{quoted(os.fsencode(tree.path))} is not the tree of Pithos that it was when the run "
        "began: mount that there"
    )


def open_maps(share: Share, settings: RelocateSettings) -> int:
    """Open the maps: where they were, or beside the share if that is mounted elsewhere now.

    Raises ShareError.
    """
    beside = os.path.join(os.path.dirname(os.fsdecode(share.path)), os.path.basename(settings.maps))
    for path in (settings.maps, beside):
        try:
            fd = open_directory(path)
        except ShareError:
            continue
        if identity_of(fd) == settings.maps_identity:
            return fd
        os.close(fd)
    raise ShareError(
        f"the maps are neither in {quoted(os.fsencode(settings.maps))} any more nor beside the "
        "blocks: mount them where they were when the run began"
    )
