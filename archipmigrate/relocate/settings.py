"""The settings of a run of relocate: where its maps are, and whose new directories become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import ShareError
from ..maps.settings import UMASK
from ..share import Share, identity_of
from ..tree.files import DIRECTORY
from ..ui.text import quoted

JOB = "relocate"  # in headers and names of runs


@dataclass(frozen=True, slots=True)
class RelocateSettings:
    """What must be the same for a run to be resumed, beside the directory of blocks, its share.

    `maps` is the directory of maps, and `maps_identity` what it is, wherever it is mounted. New
    directories become those of `uid` and `gid`, or (None) of the directory that they are in.
    """

    maps: str
    maps_identity: str
    blocks_umask: int = UMASK
    maps_umask: int = UMASK
    uid: int | None = None
    gid: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> RelocateSettings:
        """Read what `as_dict` returned."""
        return cls(**stored)


def open_directory(path: str) -> int:
    """Open a blocker's directory, following a symbolic link there this once. Raises ShareError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except OSError as error:
        shown = quoted(os.fsencode(path))
        raise ShareError(f"{shown}: {error.strerror}: name the directory of the maps") from None


def directory_identity(path: str) -> str:
    """Return what a directory is, wherever it is mounted. Raises ShareError."""
    fd = open_directory(path)
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
