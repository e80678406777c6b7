"""The settings of a run over maps: where its locks are, whose its files become, what it keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..errors import ShareError
from ..share import identity_of
from ..tree.files import Owner
from .journal.sizes import Sizes

JOB = "mapfiles"  # in headers and names of runs
UMASK = 0o007
LATER = ("blocks", "v03_stopped")


@dataclass(frozen=True, slots=True)
class MapfilesSettings:
    """What must be the same for a run to be resumed, beside the maps directory, its share.

    `locks` is the lock directory ("": locks lie among the maps) and `locks_identity` what it is,
    wherever it is mounted. `uid` and `gid` own new files; None: the caller does. `check` reads the
    blocks of current maps and looks for every object, also of these, `keep` keeps old maps for
    undo. `sizes` is the digest of the sizes of v0 maps; `table` has the sizes themselves, if
    they were just given: a run saves them. `blocks` is the directory of objects ("": they are not
    looked for). `v03_stopped` says that no node runs v0.3: its locks hold nothing.
    """

    locks: str = ""
    locks_identity: str = ""
    umask: int = UMASK
    uid: int | None = None
    gid: int | None = None
    check: bool = False
    keep: bool = True
    sizes: str = ""
    blocks: str = ""
    v03_stopped: bool = False
    table: Sizes | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps."""
        stored = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "table"}
        # Runs that began before there were these have none of them: what is as they were is equal.
        return {name: value for name, value in stored.items() if value or name not in LATER}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> MapfilesSettings:
        """Read what `as_dict` returned."""
        return cls(**stored)

    @property
    def owner(self) -> Owner | None:
        """Who new files belong to; None: the caller."""
        return None if self.uid is None or self.gid is None else Owner(self.uid, self.gid)

    def with_sizes(self, table: Sizes) -> MapfilesSettings:
        """Return these settings with sizes of v0 maps."""
        return replace(self, sizes=table.digest, table=table)

    def with_locks(self, path: str | None) -> MapfilesSettings:
        """Return these settings with the lock directory at *path*; None: where it was.

        Raises ShareError if it is not there.
        """
        if not path:
            return self
        path = os.path.abspath(path)
        return replace(self, locks=path, locks_identity=lock_directory_identity(path))


def lock_directory_identity(path: str) -> str:
    """Return what the lock directory at *path* is; "" for no path. Raises ShareError."""
    if not path:
        return ""
    fd = open_lock_directory(path)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def open_lock_directory(path: str) -> int:
    """Open a lock directory. Raises ShareError if it is not there."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ShareError(
            f"the lock directory {path}: {error.strerror}: name the one that all nodes use"
        ) from None
