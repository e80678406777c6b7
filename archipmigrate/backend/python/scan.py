"""Scan, in Python: one worker's depth-first walk over one unit.

Invariant: when a walk ends, every name of the unit, and every name found below it, is either
counted in the tally or in `rest`, `again`, `chunks` or `wide`: nothing is looked at twice, nothing
forgotten.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from array import array
from collections.abc import Iterator
from itertools import chain, islice
from time import monotonic

from ...model import RETRIES, TRANSIENT, Failure, Limits, Link, Notice, Scan, Tally, Unit
from ...packed.changes import LINKED_FLAG, SETID_FLAG, ChangeWriter, wrapped
from ...packed.groups import Group, Hint, own_unit, pack_groups, unpack_groups, walk_unit, whole
from ...policy import GroupPolicy
from ..base import (
    CHUNKS,
    EXCLUDED,
    FILESYSTEM,
    LINKED,
    SNAPSHOT,
    WIDE,
    ScanOptions,
    read_ahead,
)
from .border import Border, is_apart
from .dirchain import DirChain
from .directories import error_of, kind_of, open_directory
from .levels import ScanLevel, WideCursor
from .xattr import AttributeNames

NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)
SET_ID = stat.S_ISUID | stat.S_ISGID
ANY_EXECUTE = 0o111
ENCODING = sys.getfilesystemencoding()  # of the names that os.scandir gives
# The operation that a failure to look at a name is reported with, and what the name counts as.
FAILED_OPERATIONS = {
    Hint.WALK: "open",
    Hint.SELF: "revisit",
    Hint.DIRECTORY: "open",
    Hint.ENTRY: "stat",
}
KINDS = {Hint.DIRECTORY: "directories", Hint.ENTRY: "files"}
# A unit that begins n levels down looks at n / FAR entries at least, whatever its limits: finding
# that directory, for scan and again for apply, costs some 2 n opens, and an entry about 20.
FAR = 8
# Linux's own filesystems have no longer names, but others do; units and changes have none.
NAME_MAX = 255
# The C library reads some 340 names of 71 bytes at once, and an NFS client wants 9 looks between.
READ_AT_ONCE, USED = 256, 16


class Walk:
    """The walk over one unit. `run` may be called once."""

    def __init__(
        self,
        root: int,
        border: Border,
        policy: GroupPolicy,
        options: ScanOptions,
        limits: Limits,
        descriptors: int,
        most_open_dirs: int,
    ) -> None:
        self._root = root
        self._border = border
        self._policy = policy
        self._options = options
        self._limits = limits
        self._deadline = monotonic() + limits.seconds
        self._ahead = read_ahead(WIDE, CHUNKS, remote=options.remote)
        self._chain = DirChain(root, descriptors)
        self._most_open_dirs = most_open_dirs
        self._open_dirs: dict[int, int] = {}  # descriptors by number of frame
        self._levels: list[ScanLevel] = []
        self._path = bytearray()  # of the deepest level: one for all, however many there are
        self._fewest = 0
        self._writer = ChangeWriter(policy.gid, policy.uid, bounded=not options.cross)
        self._wanted: dict[tuple[int, int, int], int] = {}  # what `_wants` has found
        self._attributes = AttributeNames()
        self._looks = 0
        self._counting = True
        self._last_try = False
        self._tally = Tally()
        self._failures: list[Failure] = []
        self._links: list[Link] = []
        self._notices: list[Notice] = []
        self._chunks: list[Unit] = []
        self._wide: Unit | None = None
        self._deferred_path = b""  # of the deepest directory that is deferred; others are above
        self._deferred: list[tuple[int, int]] = []  # length of the path, inode; deepest first
        self._again: dict[bool, list[Group]] = {False: [], True: []}

    def run(self, unit: Unit) -> Scan:
        """Walk the unit until it is done or a limit is reached."""
        rest: Unit | None = None
        if isinstance(unit.cursor, WideCursor):
            self._read_chunks(unit.cursor, [])
        else:
            self._counting = not unit.counted
            self._last_try = unit.retries >= RETRIES
            groups = unpack_groups(unit.body)
            for group in groups:
                self._walk_group(group)
                if self._looks and self._is_over():
                    break
            left_over = chain(self._left_over(), self._cut_above(groups), groups)
            left = walk_unit(left_over, retries=unit.retries, counted=unit.counted)
            rest = left if left.entries else None
        while self._levels:
            self._leave()
        self._chain.close()
        return Scan(
            self._tally,
            self._writer.finish(),
            self._writer.count,
            rest,
            self._chunks,
            self._wide,
            [
                walk_unit(groups, retries=unit.retries + 1, counted=counted)
                for counted, groups in self._again.items()
                if groups
            ],
            self._failures,
            self._links,
            self._notices,
            deferred=own_unit(self._deferred_path, self._deferred),
        )

    def open_dirs(self) -> array[int]:
        """Return what stays open for apply: for each directory frame its descriptor, or -1."""
        return array("i", (self._open_dirs.get(n, -1) for n in range(self._writer.entered)))

    # -- the loop

    def _is_over(self) -> bool:
        limits = self._limits
        if limits.stop[0] or self._wide is not None or self._chunks:
            return True  # one wide directory a walk: its names go first
        return self._looks >= self._fewest and (
            self._looks >= limits.entries
            or self._writer.count >= limits.changes
            or monotonic() >= self._deadline
        )

    def _walk(self, base: int) -> None:
        """Walk depth first from the deepest of *base* levels, until done or a limit is reached."""
        while True:
            level = self._levels[-1]
            if not level.entries and not level.subdirectories:
                if len(self._levels) == base:
                    return
                self._leave()
            elif self._looks and self._is_over():
                return
            elif level.entries:
                self._look_at(level, level.entries.pop())
            else:
                self._descend(level, level.subdirectories.pop())

    def _left_over(self) -> Iterator[Group]:
        """Yield the names that are not looked at yet, of all levels."""
        ends = [level.start for level in self._levels[1:]] + [len(self._path)]
        for level, end in zip(self._levels, ends, strict=False):  # without levels, one end too many
            names = [(Hint.ENTRY, name) for name in reversed(level.entries)]
            names += [(Hint.DIRECTORY, name) for name in reversed(level.subdirectories)]
            if not level.named and not self._counting:
                # The rest of a unit whose names are counted is one, too.
                self._count("files", len(level.entries))
                self._count("directories", len(level.subdirectories))
            level.cut = level.cut or bool(names)
            if names:
                yield Group(bytes(self._path[:end]), level.inode, tuple(names))

    def _cut_above(self, groups: Iterator[Group]) -> Iterator[Group]:
        """Yield the next group, which is not looked at, if any; what it is below of is cut."""
        for group in islice(groups, 1):
            self._leave_others(group)
            if self._levels:
                self._levels[-1].cut = True
            yield group

    def _enter(self, level: ScanLevel, name: bytes, fd: int) -> None:
        level.start = len(self._path)
        self._path += b"/" + name if self._path else name
        self._levels.append(level)
        self._chain.push(name, level.inode, fd, is_pin=level.named)
        self._writer.enter(name, level.inode)

    def _leave(self) -> None:
        level = self._levels.pop()
        if level.cut:
            self._defer(level)
        del self._path[level.start :]
        frame = self._writer.leave(level.own)
        if frame < 0 or len(self._open_dirs) >= self._most_open_dirs:
            self._chain.pop()
        elif (fd := self._chain.pop_open()) >= 0:
            self._open_dirs[frame] = fd

    def _defer(self, level: ScanLevel) -> None:
        """Leave the own change of a directory that is cut, the deepest, until its rest is done."""
        if level.own:
            self._deferred_path = self._deferred_path or bytes(self._path)
            self._deferred.append((len(self._path), level.inode))
            level.own = None
        if self._levels:
            self._levels[-1].cut = True

    def _join(self, name: bytes) -> bytes:
        """Return the path of an entry of the deepest level, from the root."""
        return bytes(self._path) + b"/" + name if self._path else name

    # -- directories

    def _walk_group(self, group: Group) -> None:
        """Open a group's directory, from the deepest level above it, and walk its names.

        Levels stay on the stack when their names are done: what a walk over a deep chain leaves
        over is one group a level, and each is opened from the one before.
        """
        if self._leave_others(group):
            self._take_names(self._levels[-1], group)
        else:
            self._open_group(group)
        if self._levels:
            self._walk(len(self._levels))

    def _leave_others(self, group: Group) -> bool:
        """Leave the levels that a group is not below; say whether the deepest is its own."""
        while self._levels:
            level = self._levels[-1]
            if len(group.path) == len(self._path) and group.path == self._path:
                if level.named and group.inode in (0, level.inode) and _names_only(group):
                    return True
            elif not self._path or group.path.startswith(self._path + b"/"):
                break
            self._leave()
        return False

    def _open_group(self, group: Group) -> None:
        itself = (Hint.SELF, b"") in group.names
        reads = walks = (Hint.WALK, b"") in group.names
        at = self._deepest_fd()
        way = group.path[len(self._path) + 1 :] if self._path else group.path
        self._fewest += way.count(b"/") // FAR
        try:
            fd, found, closed = open_directory(at, way, self._options.never, reads=reads)
            if not reads and group.inode not in (0, found.st_ino):
                os.close(fd)  # another directory is in its place: look at all of that one
                reads = True
                fd, found, closed = open_directory(at, way, self._options.never, reads=True)
                self._tally.vanished += 0 if self._counting else len(group.names) - itself
        except OSError as error:
            self._looks += 1
            if walks and error.errno not in (errno.ENOENT, *NO_DIRECTORY):
                self._count("directories", counting=self._counting)
            self._lost_group(group, error, counted=walks or not self._counting)
            return
        if reads:
            # With SELF the directory is in the tally; without, only its names are.
            counting = self._counting if walks else not itself
            self._read_directory(way, fd, found, counting=counting, closed=closed)
            return
        level = ScanLevel(found.st_ino, named=True)
        if itself:
            self._looks += 1
            self._judge_directory(level, found)
        self._take_names(level, group)
        self._enter(level, way, fd)

    @staticmethod
    def _take_names(level: ScanLevel, group: Group) -> None:
        level.entries = [n for h, n in reversed(group.names) if h == Hint.ENTRY]
        level.subdirectories = [n for h, n in reversed(group.names) if h == Hint.DIRECTORY]

    def _deepest_fd(self) -> int:
        """Return a descriptor of the deepest directory that is still there; leave those below."""
        while True:
            try:
                return self._chain.fd()
            except OSError:
                self._leave()  # it was moved away: the path from above decides

    def _descend(self, level: ScanLevel, name: bytes) -> None:
        self._looks += 1
        counting = self._counting or not level.named
        if reason := self._reason_to_pass(name):
            self._count("directories", counting=counting)
            self._skip(name, reason)
            return
        try:
            at = self._chain.fd()
            fd, found, closed = open_directory(at, name, self._options.never, reads=True)
        except OSError as error:
            if error.errno in NO_DIRECTORY:
                self._look_at(level, name, was_directory=True)
            else:
                if error.errno != errno.ENOENT:
                    self._count("directories", counting=counting)
                again = Group(bytes(self._path), level.inode, ((Hint.DIRECTORY, name),))
                self._lost(self._join(name), error, "open", again)
            return
        self._read_directory(name, fd, found, counting=counting, closed=closed)

    def _read_directory(
        self, name: bytes, fd: int, found: os.stat_result, *, counting: bool, closed: bool
    ) -> None:
        """Read the names of an open directory and enter it, unless it is outside.

        That a *closed* one cannot be read is a failure, and may be besides a change of its own.
        """
        self._looks += 1
        if counting:
            self._tally.entries += 1
            self._tally.directories += 1
        if reason := self._reason_to_skip(name, fd, found.st_dev):
            os.close(fd)
            self._skip(name, reason)
            return
        if closed:
            self._enter_closed(name, fd, found)
            return
        listing = None
        names: list[os.DirEntry[str]] = []
        wide, _ = self._ahead
        try:
            listing = os.scandir(fd)
            self._read(listing, names, wide + 1, fd)
        except OSError as error:
            if listing is not None:
                listing.close()
            os.close(fd)
            path = self._join(name)
            self._lost(path, error, "readdir", whole(path))
            return
        level = ScanLevel(found.st_ino)
        self._judge_directory(level, found)
        if level.own and self._options.xattrs:
            self._notice(fd, b"", name, found.st_mode)
        if len(names) > wide:
            cursor = WideCursor(self._join(name), level.inode, os.dup(fd), listing)
            self._read_chunks(cursor, names)
            level.cut = bool(self._chunks or self._wide)
        else:
            listing.close()
            self._sort(self._join(name), names, level.entries, level.subdirectories)
            level.entries.reverse()
            level.subdirectories.reverse()
        self._enter(level, name, fd)

    def _reason_to_pass(self, name: bytes) -> str:
        """Return why a directory of the deepest level is not even opened; "" if it is."""
        if name in self._options.excludes:
            return EXCLUDED
        return SNAPSHOT if not self._path and name in self._options.snapshots else ""

    def _reason_to_skip(self, name: bytes, fd: int, device: int) -> str:
        """Return why an open directory is not entered; "" if it is.

        *name* is that in the deepest level, or the path from there.
        """
        above, _, last = name.rpartition(b"/")
        if last in self._options.snapshots and (not (self._path or above) or is_apart(fd, device)):
            return SNAPSHOT
        is_outside = not self._options.cross and self._border.is_outside(fd, device)
        return FILESYSTEM if is_outside else ""

    def _skip(self, name: bytes, reason: str) -> None:
        self._tally.skipped += 1
        self._notices.append(Notice(self._join(name), reason))

    def _enter_closed(self, name: bytes, fd: int, found: os.stat_result) -> None:
        """Judge a directory that cannot be read, and enter it without names."""
        self._lost(self._join(name), error_of(errno.EACCES), "readdir")
        level = ScanLevel(found.st_ino, named=True)
        self._judge_directory(level, found)
        self._tally.compliant -= level.own is None  # it is counted as failed
        self._enter(level, name, fd)

    def _read_chunks(self, cursor: WideCursor, names: list[os.DirEntry[str]]) -> None:
        """Read the next names of a wide directory into chunks; leave the rest of it over."""
        self._looks += 1
        more = True
        wide, chunks = self._ahead
        try:
            self._read(cursor.names, names, wide * chunks, cursor.fd)
        except OSError as error:
            self._lost(cursor.path, error, "readdir")
            more = False  # but what was read is looked at
        for start in range(0, len(names), wide):
            entries: list[bytes] = []
            subdirectories: list[bytes] = []
            self._sort(cursor.path, names[start : start + wide], entries, subdirectories)
            hinted = [(Hint.ENTRY, n) for n in entries]
            hinted += [(Hint.DIRECTORY, n) for n in subdirectories]
            if hinted:
                self._chunks.append(walk_unit([Group(cursor.path, cursor.inode, tuple(hinted))]))
        if more and len(names) == wide * chunks:
            body = pack_groups([whole(cursor.path, cursor.inode)])
            self._wide = Unit(body, cursor=cursor)
        else:
            cursor.close()

    def _read(
        self,
        listing: Iterator[os.DirEntry[str]],
        names: list[os.DirEntry[str]],
        wanted: int,
        fd: int,
    ) -> None:
        """Read names until there are *wanted*.

        On NFS look at some of them: see native/local/scan_dir.c, look_at_some.
        """
        if not self._options.remote:
            names += islice(listing, wanted - len(names))
            return
        for entry in islice(listing, wanted - len(names)):
            names.append(entry)
            if len(names) % READ_AT_ONCE >= READ_AT_ONCE - USED:
                with contextlib.suppress(OSError):
                    os.stat(entry.name, dir_fd=fd, follow_symlinks=False)

    def _sort(
        self,
        directory: bytes,
        names: list[os.DirEntry[str]],
        entries: list[bytes],
        subdirectories: list[bytes],
    ) -> None:
        """Sort names by type; where the directory does not tell it, is_dir needs a stat.

        *directory* is the path of the directory that has the names.
        """
        for entry in names:
            name = entry.name.encode(ENCODING, "surrogateescape")
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError:
                is_directory = False  # the look will say what is wrong
            if len(name) > NAME_MAX:
                self._fail_too_long(directory, name, kind_of(entry, is_directory=is_directory))
            else:
                (subdirectories if is_directory else entries).append(name)

    def _fail_too_long(self, directory: bytes, name: bytes, kind: str) -> None:
        """Count a name that is too long; a directory or file of that name is a failure."""
        self._count(kind)
        if kind != "others":
            path = directory + b"/" + name if directory else name
            self._lost(path, error_of(errno.ENAMETOOLONG), "name")

    # -- entries

    def _look_at(self, level: ScanLevel, name: bytes, *, was_directory: bool = False) -> None:
        """Look at one entry by name and note what must change."""
        self._looks += 1
        counting = self._counting or not level.named
        try:
            directory = self._chain.fd()
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self._count("files", counting=counting)
            again = Group(bytes(self._path), level.inode, ((Hint.ENTRY, name),))
            self._lost(self._join(name), error, "stat", again)
            return
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFREG:
            if counting:
                self._tally.entries += 1
                self._tally.files += 1
            self._judge_file(name, directory, found, counting=counting)
        elif kind != stat.S_IFDIR:
            self._count("others", counting=counting)
        elif was_directory:
            self._tally.vanished += 1  # it is being exchanged at this moment
        else:
            level.subdirectories.append(name)

    def _judge_file(
        self, name: bytes, directory: int, found: os.stat_result, *, counting: bool
    ) -> None:
        mode, uid, gid = found.st_mode, found.st_uid, found.st_gid
        linked = found.st_nlink > 1
        if linked and counting:
            self._tally.hard_linked += 1
        if linked and self._options.skip_links:
            self._skip(name, LINKED)
        elif not (wanted := self._wants(mode, uid, gid)):
            self._tally.compliant += 1
        elif not self._options.cross and self._border.is_mount(directory, name):
            self._skip(name, FILESYSTEM)  # the mount of what complies does not matter
        else:
            flags = LINKED_FLAG if linked else 0
            written = None
            if mode & ~wanted & SET_ID:
                flags |= SETID_FLAG
                written = (found.st_size, wrapped(found.st_mtime_ns))
            offset = self._writer.change(name, flags, mode, wanted, uid, gid, found.st_ino, written)
            if linked:
                self._links.append(Link(offset, found.st_dev, found.st_ino))
            if self._options.xattrs:
                self._notice(directory, name, name, mode)

    def _judge_directory(self, level: ScanLevel, found: os.stat_result) -> None:
        """Note a directory's own change, if it does not comply."""
        mode, uid, gid = found.st_mode, found.st_uid, found.st_gid
        if wanted := self._wants(mode, uid, gid):
            level.own = (mode, wanted, uid, gid)
        else:
            self._tally.compliant += 1

    def _wants(self, mode: int, uid: int, gid: int) -> int:
        """Return the mode that an entry must get, 0 if it complies.

        A share has few different modes, owners and groups, so that the answers are remembered.
        """
        wanted = self._wanted.get((mode, uid, gid))
        if wanted is None:
            complies = self._policy.complies(mode, uid, gid)
            wanted = self._wanted[mode, uid, gid] = 0 if complies else self._policy.wanted(mode)
        return wanted

    def _notice(self, directory: int, entry: bytes, name: bytes, mode: int) -> None:
        """Note an ACL or capabilities of an entry of *directory*, or (`b""`) of that itself.

        *name* is its name in the deepest level.
        """
        try:
            names = self._attributes.of(directory, entry) if entry else os.listxattr(directory)
        except OSError:
            return  # none on this filesystem, or the entry is gone: apply will see
        if not names:
            return
        if "system.posix_acl_access" in names:
            self._notices.append(Notice(self._join(name), "acl"))
        runs = stat.S_ISREG(mode) and mode & ANY_EXECUTE
        if runs and "security.capability" in names:
            self._notices.append(Notice(self._join(name), "capability"))

    # -- opening, counting, errors

    def _count(self, kind: str, number: int = 1, *, counting: bool = True) -> None:
        if counting:
            self._tally.entries += number
            setattr(self._tally, kind, getattr(self._tally, kind) + number)

    def _lost_group(self, group: Group, error: OSError, *, counted: bool) -> None:
        """Note that the directory of a group could not be opened.

        Names that fail are counted, if they were not yet: no later look will find them again.
        """
        gone = error.errno == errno.ENOENT or error.errno in NO_DIRECTORY
        if gone or (error.errno in TRANSIENT and not self._last_try):
            self._lost(group.path, error, "open", group, counted=counted)
            return
        for hint, name in group.names:
            if hint in (Hint.ENTRY, Hint.DIRECTORY):
                self._count(KINDS[Hint(hint)], counting=self._counting)
            path = group.path + b"/" + name if name and group.path else group.path or name
            self._lost(path, error, FAILED_OPERATIONS[Hint(hint)])

    def _lost(
        self,
        path: bytes,
        error: OSError,
        operation: str,
        again: Group | None = None,
        *,
        counted: bool = True,
    ) -> None:
        """Note what could not be looked at: gone, to be retried (as *again*), or a failure."""
        if error.errno == errno.ENOENT or (error.errno in NO_DIRECTORY and operation == "open"):
            self._tally.vanished += len(again.names) if again else 1
        elif again is not None and error.errno in TRANSIENT and not self._last_try:
            self._again[counted].append(again)
        else:
            self._tally.failed += 1
            self._failures.append(Failure(path, operation, error.errno or 0))


def _names_only(group: Group) -> bool:
    return all(hint in (Hint.ENTRY, Hint.DIRECTORY) for hint, _ in group.names)
