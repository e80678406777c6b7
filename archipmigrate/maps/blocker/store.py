"""What upgrade and undo share: where they work, for whom, and how they put files in place.

A file appears under its name complete and durable, by a link from `NAME.archipmigrate_<run>`,
which never replaces anything; what a killed run left of that name is removed by whoever finishes
its work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...tree.files import Created, Place, Tree, open_file, read_pieces, same_on_disk, status, unlink
from ..format.codec import Codec
from ..journal.kept import Kept
from .locks import Locks, shown_holder
from .look import KnownSizes
from .record import OldFile, Record


class Locked(Exception):
    """Somebody else holds a lock that is needed; the text says who and which."""


class Different(Exception):
    """Something is not as it was when it was looked at; the text says what."""


@dataclass(frozen=True, slots=True)
class Store:
    """The maps and locks of one share, and a run that works on them.

    `kept` is where contents are kept (None: nowhere; `keeps` says whether they would be, for a dry
    run must refuse what a run does); `run` names our files on the way: an undo has the name of the
    run that it takes back, so that another undo of that run finds what it left.
    """

    maps: Tree
    locks: Locks
    sizes: KnownSizes
    codec: Codec
    run: str
    kept: Kept | None = None
    keeps: bool = False

    # -- locks

    def take_locks(self, names: Sequence[bytes]) -> None:
        """Take the locks of maps, all or none. Raises Locked, OSError."""
        try:
            for name in names:
                holder = self._take_lock(name)
                if holder is not None:
                    raise Locked(held_by(name, holder))
        except BaseException:
            with contextlib.suppress(OSError):
                self.release_locks(names)
            raise

    def _take_lock(self, name: bytes) -> bytes | None:
        try:
            return self.locks.take(name)
        except PermissionError:
            raise  # a note would make it one of this volume's own: such are no reason to stop
        except OSError as error:  # the locks may lie on another filesystem than the maps
            words = f"its lock cannot be taken: {error.strerror}"
            raise OSError(error.errno, words) from error

    def release_locks(self, names: Sequence[bytes]) -> None:
        """Release those of the locks that are ours, at the second try if need be.

        Raises the first OSError of the second tries, after all.
        """
        errors = []
        for name in names:
            try:
                try:
                    self.locks.release(name)
                except OSError:
                    self.locks.release(name)
            except OSError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    # -- contents

    def content(self, file: OldFile) -> Iterator[bytes]:
        """Yield the kept content of a file. Raises Different if there is none, OSError."""
        if self.kept is None or file.pieces is None:
            raise Different("its old content was not kept")
        return self.kept.read(file.pieces)

    # -- files

    def part_name(self, name: bytes) -> bytes:
        """Return what a file is called on its way to *name*."""
        return name + f".archipmigrate_{self.run}".encode()

    @contextlib.contextmanager
    def part(self, directory: int, name: bytes, content: Iterable[bytes]) -> Iterator[Created]:
        """Make the file that is to become *name*; its own name is gone afterwards."""
        part = self.part_name(name)
        unlink(directory, part)
        made = self.maps.create(directory, part, content)
        try:
            yield made
        finally:
            unlink(directory, part, made.inode)

    def put_in_place(
        self, directory: int, name: bytes, made: Created, there: int | None = None
    ) -> None:
        """Link a part to its name, here or in directory *there*; durable on return.

        Raises Different if there is another file of that name.
        """
        target = directory if there is None else there
        try:
            os.link(
                self.part_name(name),
                name,
                src_dir_fd=directory,
                dst_dir_fd=target,
                follow_symlinks=False,
            )
        except FileExistsError:
            found = status(target, name)  # a resent NFS call fails by its own success
            if found is None or found.st_ino != made.inode:
                shown = name.decode(errors="backslashreplace")
                raise Different(f"there is a file called {shown} now") from None
        os.fsync(target)

    def sweep_part(self, place: Place, name: bytes) -> None:
        """Remove what a killed session left of putting *name* in place."""
        with contextlib.suppress(FileNotFoundError), self.maps.directory(place) as directory:
            unlink(directory, self.part_name(name))

    def restore_file(self, files: Sequence[OldFile]) -> None:
        """Put a file back under all its names, with its content, mode, owner and mtime.

        Names that are back already stay. Raises Different, OSError.
        """
        first = files[0]
        self.sweep_part(first.place, first.name)
        missing = [file for file in files if not self._is_back(file)]
        if not missing:
            return
        with (
            self.maps.directory(first.place, make=True) as directory,
            self.part(directory, first.name, self.content(first)) as made,
        ):
            if made.digest != first.digest:
                raise OSError(errno.EIO, "what was kept reads back differently")
            self._give_attrs(directory, first, made)
            for file in missing:
                with self.maps.directory(file.place, make=True) as there:
                    self.put_in_place(directory, file.name, made, there)

    def _is_back(self, file: OldFile) -> bool:
        """Whether a file is there again. Raises Different if another one is."""
        with (
            contextlib.suppress(FileNotFoundError),
            self.maps.directory(file.place) as directory,
        ):
            found = status(directory, file.name)
            if found is None:
                return False
            if stat.S_ISREG(found.st_mode) and same_on_disk(
                directory, file.name, file.length, file.digest
            ):
                return True
            shown = file.name.decode(errors="backslashreplace")
            raise Different(f"there is another file called {shown} now")
        return False

    def _give_attrs(self, directory: int, file: OldFile, made: Created) -> None:
        fd = open_file(directory, self.part_name(file.name))
        try:
            if os.fstat(fd).st_ino != made.inode:
                raise Different("a file of ours was exchanged for another")
            give_attrs(fd, file)
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove_source(self, file: OldFile) -> None:
        """Remove a file of an old map; durable. Raises Different if somebody wrote to it since."""
        with (
            contextlib.suppress(FileNotFoundError),
            self.maps.directory(file.place) as directory,
        ):
            found = status(directory, file.name)
            if found is not None and found.st_ino == file.inode and not file.is_same(found):
                shown = file.name.decode(errors="backslashreplace")
                raise Different(f"{shown} was changed after it was upgraded")
            if unlink(directory, file.name, file.inode):
                os.fsync(directory)


def held_by(name: bytes, holder: bytes) -> str:
    """Word who holds the lock of a map."""
    return f"{name.decode(errors='backslashreplace')} is {shown_holder(holder)}"


def give_attrs(fd: int, file: OldFile) -> None:
    """Give a file the mode (no set-id bits: it is a map), owner and mtime that it had."""
    found = os.fstat(fd)
    if (found.st_uid, found.st_gid) != (file.uid, file.gid):
        os.fchown(fd, file.uid, file.gid)
    os.fchmod(fd, file.mode & 0o1777)
    os.utime(fd, ns=(found.st_atime_ns, file.mtime))


def names_of_inodes(files: Sequence[OldFile]) -> list[list[OldFile]]:
    """Return the names that follow each other and are one file, as one."""
    grouped: list[list[OldFile]] = []
    for file in files:
        if grouped and grouped[-1][0].inode == file.inode:
            grouped[-1].append(file)
        else:
            grouped.append([file])
    return grouped


def read_first(store: Store, record: Record, length: int) -> bytes | None:
    """Return the first bytes of the file where the v2 header is to be; None if there is none."""
    name = record.volume
    try:
        with store.maps.directory(record.header_place) as directory:
            fd = open_file(directory, name)
    except FileNotFoundError:
        return None
    try:
        return b"".join(read_pieces(fd, 0, length))
    finally:
        os.close(fd)
