"""Put files under their names, and remove them, durably.

A file is made as `NAME.archipmigrate_<run>` (its part), synced, and then linked to NAME: so it is
complete under its name from the first instant, and never replaces another file. What a killed
session left of a part is removed by the session that finishes its work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from ...layout.names import shown
from ...tree.files import Created, DirPath, open_file, same_on_disk, status, unlink
from .preimage import OldFile
from .store import Different, Store


@contextlib.contextmanager
def part(store: Store, directory: int, name: bytes, content: Iterable[bytes]) -> Iterator[Created]:
    """Make the part of a file for as long as the context lasts. Raises OSError."""
    name = store.part_name(name)
    unlink(directory, name)
    made = store.maps.create(directory, name, content)
    try:
        yield made
    finally:
        unlink(directory, name, made.inode)


def link_part(
    store: Store, directory: int, name: bytes, made: Created, target: int | None = None
) -> None:
    """Link the part in *directory* to its name, there or in *target*; durable on return.

    Raises OSError, and Different if there is another file of that name.
    """
    target = directory if target is None else target
    try:
        os.link(
            store.part_name(name),
            name,
            src_dir_fd=directory,
            dst_dir_fd=target,
            follow_symlinks=False,
        )
    except FileExistsError:
        found = status(target, name)  # an NFS call that was sent again finds its own success
        if found is None or found.st_ino != made.inode:
            raise Different(f"there is a file called {shown(name)} now") from None
    os.fsync(target)


def sweep_part(store: Store, parent: DirPath, name: bytes) -> None:
    """Remove the part of *name* that a killed session left. Raises OSError."""
    with contextlib.suppress(FileNotFoundError), store.maps.directory(parent) as directory:
        unlink(directory, store.part_name(name))


def restore_file(store: Store, files: Sequence[OldFile]) -> None:
    """Put one file back under all its names, with its content, mode, owner and mtime.

    Leave names that are back already. Durable on return. Raises OSError, and Different if another
    file has one of the names, or the content was not kept.
    """
    first = files[0]
    sweep_part(store, first.parent, first.name)
    missing = [file for file in files if not _is_back(store, file)]
    if not missing:
        return
    with (
        store.maps.directory(first.parent, make=True) as directory,
        part(store, directory, first.name, store.content(first)) as made,
    ):
        if made.digest != first.digest:
            raise OSError(errno.EIO, "its old content reads back differently")
        _give_attrs_to_part(store, directory, first, made)
        for file in missing:
            with store.maps.directory(file.parent, make=True) as target:
                link_part(store, directory, file.name, made, target)


def _is_back(store: Store, file: OldFile) -> bool:
    """Whether a file is there again. Raises Different if another one is."""
    with (
        contextlib.suppress(FileNotFoundError),
        store.maps.directory(file.parent) as directory,
    ):
        found = status(directory, file.name)
        if found is None:
            return False
        if stat.S_ISREG(found.st_mode) and same_on_disk(
            directory, file.name, file.length, file.digest
        ):
            return True
        raise Different(f"there is another file called {shown(file.name)} now")
    return False


def _give_attrs_to_part(store: Store, directory: int, file: OldFile, made: Created) -> None:
    fd = open_file(directory, store.part_name(file.name))
    try:
        if os.fstat(fd).st_ino != made.inode:
            raise Different("a file of ours was exchanged for another")
        give_attrs(fd, file)
        os.fsync(fd)
    finally:
        os.close(fd)


def give_attrs(fd: int, file: OldFile) -> None:
    """Give a file the owner, mode and mtime that it had, but no set-id bits: a map needs none."""
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (file.uid, file.gid):
        os.fchown(fd, file.uid, file.gid)
    os.fchmod(fd, file.mode & 0o1777)
    os.utime(fd, ns=(found.st_atime_ns, file.mtime))


def remove_old_file(store: Store, file: OldFile) -> None:
    """Remove a file of an old map, unless its name is another file's by now; durable on return.

    Raises OSError, and Different if somebody has written to it since.
    """
    with (
        contextlib.suppress(FileNotFoundError),
        store.maps.directory(file.parent) as directory,
    ):
        found = status(directory, file.name)
        if found is not None and found.st_ino == file.inode and not file.is_same(found):
            raise Different(f"{shown(file.name)} was changed after it was upgraded")
        if unlink(directory, file.name, file.inode):
            os.fsync(directory)


def grouped_by_inode(files: Sequence[OldFile]) -> list[list[OldFile]]:
    """Return the files, one list for all names of one inode: these follow each other."""
    grouped: list[list[OldFile]] = []
    for file in files:
        if grouped and grouped[-1][0].inode == file.inode:
            grouped[-1].append(file)
        else:
            grouped.append([file])
    return grouped
