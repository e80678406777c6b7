"""Files of many volumes at once: each step is taken for all of them before the next one.

    make     missing directories, then the files, are made and written; all are synced; so are
             their names; all are read back
    link     parts are linked to their names; the names are synced; the parts are removed
    remove   files are removed; their directories are synced

The syncs of a step are asked for at the same time: they meet in few commits of the filesystem, and
few flushes of the disk. `syncfs` would sync what others write on the same filesystem, too, and
tells no file's error. In Python here, where each file is synced as it is made, or in C without
the GIL (native/mapfile/files): the end state is the same.

Errors are numbers, one a file (0: none); that of one file leaves the others alone. Only what is
wrong with the arguments, or with this process, raises: ValueError, MemoryError.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from xxhash import xxh3_128

from ...backend.extensions import uses_native
from ...tree.files import DirPath, Tree, is_inode, open_file, same_on_disk, status, unlink

with contextlib.suppress(ImportError):  # no C compiler where this was installed
    from ... import _native


class NewFile(NamedTuple):
    """A file to make, in a directory below the root; what has its name is removed first."""

    directory: bytes
    name: bytes
    content: bytes


class PartLink(NamedTuple):
    """The part of a file, and the name that it is to be linked to in the same directory."""

    directory: bytes
    part: bytes
    name: bytes
    inode: int


class Leaving(NamedTuple):
    """A file to remove: as it was (inode 0: as it may be), and with this content, unless None."""

    directory: bytes
    name: bytes
    inode: int = 0
    length: int = 0
    mtime: int = 0
    content: bytes | None = None


class Files(Protocol):
    """One of the twins. It has no state: any number of threads may share one."""

    def make(
        self, tree: Tree, files: Sequence[NewFile], *, named: bool
    ) -> Sequence[tuple[int, int]]:
        """Make files; return an error and an inode for each.

        Their content is durable on return, and with *named* so are their names. EIO: one reads back
        differently. What has an error is removed again.
        """

    def link(self, tree: Tree, links: Sequence[PartLink], *, durable: bool) -> Sequence[int]:
        """Link parts to their names; return an error for each. EEXIST: the name is another file's.

        With *durable*, the names are durable before the parts go. An error may come after the link.
        """

    def remove(self, tree: Tree, files: Sequence[Leaving], *, durable: bool) -> Sequence[int]:
        """Remove files unless their names are other files' by now; return an error for each.

        ESTALE: somebody has written to it, or its content is another.
        """


class PythonFiles:
    """The twin in Python, which is always there."""

    def make(
        self, tree: Tree, files: Sequence[NewFile], *, named: bool
    ) -> Sequence[tuple[int, int]]:
        """See Files."""
        inodes = [0] * len(files)

        def make(number: int) -> None:
            inodes[number] = _make(tree, files[number], named=named)

        errors = [_error(partial(make, number)) for number in range(len(files))]
        for number, file in enumerate(files):
            errors[number] = errors[number] or _error(partial(_read_back, tree, file))
        return list(zip(errors, inodes, strict=True))

    def link(self, tree: Tree, links: Sequence[PartLink], *, durable: bool) -> Sequence[int]:
        """See Files."""
        errors = [_error(partial(_link, tree, link)) for link in links]
        for number, link in enumerate(links):
            sync = durable and not errors[number]
            error = _error(partial(_drop_part, tree, link, sync=sync))
            errors[number] = errors[number] or error
        return errors

    def remove(self, tree: Tree, files: Sequence[Leaving], *, durable: bool) -> Sequence[int]:
        """See Files."""
        return [_error(partial(_remove, tree, file, durable=durable)) for file in files]


class NativeFiles:
    """The twin in C. It releases the GIL."""

    def make(
        self, tree: Tree, files: Sequence[NewFile], *, named: bool
    ) -> Sequence[tuple[int, int]]:
        """See Files."""
        return _native.make_files(_root(tree), tuple(files), named)

    def link(self, tree: Tree, links: Sequence[PartLink], *, durable: bool) -> Sequence[int]:
        """See Files."""
        return _native.link_files(_root(tree), tuple(links), durable)

    def remove(self, tree: Tree, files: Sequence[Leaving], *, durable: bool) -> Sequence[int]:
        """See Files."""
        return _native.remove_files(_root(tree), tuple(files), durable)


def files_of(backend: str) -> Files:
    """Return the twin that goes with a backend; for `auto`, the fastest that is there.

    Raises BackendMissing if `native` is demanded and not built.
    """
    return NativeFiles() if uses_native(backend) else PythonFiles()


def joined(directory: DirPath) -> bytes:
    """Return a directory as the twins take it."""
    return b"/".join(directory)


def _root(tree: Tree) -> tuple[int, int, int]:
    owner = tree.owner
    return (tree.root, -1, -1) if owner is None else (tree.root, owner.uid, owner.gid)


def _parted(directory: bytes) -> DirPath:
    return tuple(directory.split(b"/")) if directory else ()


def _error(work: Callable[[], None]) -> int:
    try:
        work()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _make(tree: Tree, file: NewFile, *, named: bool) -> int:
    with tree.directory(_parted(file.directory), make=True) as directory:
        unlink(directory, file.name)
        made = tree.create(directory, file.name, (file.content,))
        if named:
            try:
                os.fsync(directory)
            except OSError:
                with contextlib.suppress(OSError):
                    unlink(directory, file.name, made.inode)
                raise
    return made.inode


def _read_back(tree: Tree, file: NewFile) -> None:
    digest = xxh3_128(file.content).hexdigest()
    with tree.directory(_parted(file.directory)) as directory:
        if not same_on_disk(directory, file.name, len(file.content), digest):
            unlink(directory, file.name)
            raise OSError(errno.EIO, "it reads back differently")


def _link(tree: Tree, link: PartLink) -> None:
    with tree.directory(_parted(link.directory)) as directory:
        try:
            os.link(
                link.part,
                link.name,
                src_dir_fd=directory,
                dst_dir_fd=directory,
                follow_symlinks=False,
            )
        except FileExistsError:
            if not is_inode(directory, link.name, link.inode):
                raise  # an NFS call that was sent again finds its own success


def _drop_part(tree: Tree, link: PartLink, *, sync: bool) -> None:
    with tree.directory(_parted(link.directory)) as directory:
        try:
            if sync:
                os.fsync(directory)
        finally:
            unlink(directory, link.part, link.inode)


def _remove(tree: Tree, file: Leaving, *, durable: bool) -> None:
    with (
        contextlib.suppress(FileNotFoundError),
        tree.directory(_parted(file.directory)) as directory,
    ):
        found = status(directory, file.name)
        if found is None or (file.inode and found.st_ino != file.inode):
            return
        if file.inode and (found.st_size, found.st_mtime_ns) != (file.length, file.mtime):
            raise OSError(errno.ESTALE, "it was changed")
        if file.content is not None and not _has_content(directory, file.name, found, file.content):
            raise OSError(errno.ESTALE, "it has another content")
        if unlink(directory, file.name, file.inode or None) and durable:
            os.fsync(directory)


def _has_content(directory: int, name: bytes, found: os.stat_result, content: bytes) -> bool:
    if not stat.S_ISREG(found.st_mode) or found.st_size != len(content):
        return False
    fd = open_file(directory, name)
    try:
        return os.pread(fd, len(content) + 1, 0) == content
    finally:
        os.close(fd)
