"""Apply, in Python: makes, settles or puts back packed changes.

Invariant: an entry is changed only through a descriptor that pins it, and only if inode, type,
mode, uid and gid are those that its change allows. Group first, then mode; on the way back mode
first.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from typing import NamedTuple

from ...model import Applied, Outcome, StopFlag, Verb
from ...packed.changes import (
    CHANGE,
    DROPPED_FLAG,
    ENTER,
    ENTER_KIND,
    HEADER,
    LEAVE_KIND,
    OWN_KIND,
    SETID,
    SETID_FLAG,
    VERSION,
    wrapped,
)
from ...policy import restored_mode, stripped, without_set_id
from ...tree.beneath import PIN, PIN_DIRECTORY, open_beneath
from ..base import READ_ONLY_PART
from .dirchain import DirChain
from .setattr import change_group, change_mode
from .statx import birth_time, mount_id, protection

SET_ID = stat.S_ISUID | stat.S_ISGID
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
DENIED = (errno.EPERM, errno.EACCES)


class PackedChange(NamedTuple):
    """One change, as its frame has it; a frame without SETID has no size and mtime."""

    kind: int
    flags: int
    length: int
    mode: int
    new_mode: int
    uid: int
    gid: int
    inode: int
    size: int = 0
    mtime: int = 0


class Refused(Exception):
    """A system call on one entry failed."""

    def __init__(self, operation: str, number: int, note: str = "") -> None:
        super().__init__(operation, number, note)
        self.operation, self.errno, self.note = operation, number, note


class Apply:
    """One call of apply. `run` may be called once."""

    def __init__(
        self,
        root: int,
        verb: Verb,
        deny_limit: int,
        born_before: int,
        descriptors: int,
        open_dirs: array[int],
        stop: StopFlag,
    ) -> None:
        self._root = root
        self._verb = {
            Verb.FORWARD: self._make_change,
            Verb.SETTLE: self._settle_change,
            Verb.BACK: self._put_back,
        }[verb]
        self._deny_limit = deny_limit
        self._born_before = born_before
        self._chain = DirChain(root, descriptors)
        self._is_pin = True  # the entry at hand is open by O_PATH
        self._open_dirs = open_dirs
        # Some filesystems tell 0 links of all directories, also of the root.
        self._has_links = bool(open_dirs) and os.fstat(root).st_nlink > 0
        self._stop = stop
        self._entered = 0
        self._new_gid = 0
        self._mount = -1  # entries on others are not changed; -1: they are, or it is not known
        self._outcomes = bytearray()
        self._failures: list[tuple[int, str, int, str]] = []
        self._stamps: list[tuple[int, int]] = []
        self._first_ctime = 0
        self._denied = 0
        self._succeeded = False
        self._ended = False
        # In a directory that cannot be entered: how deep, and the outcome of all changes in it.
        self._lost_depth = 0
        self._lost: Outcome | Refused = Outcome.GONE

    def run(self, changes: bytes) -> Applied:
        """Apply all changes, frame by frame (see `base.Backend.apply`)."""
        version, bounded, self._new_gid = HEADER.unpack_from(changes, 0)
        if version != VERSION:
            raise ValueError(f"changes of version {version}, not {VERSION}")
        if bounded and self._verb == self._make_change:
            self._mount = mount_id(self._root)
        at, end = HEADER.size, len(changes)
        while at < end:
            kind = changes[at]
            self._ended = self._ended or self._stop[0] != 0
            if kind == ENTER_KIND:
                _, length, inode = ENTER.unpack_from(changes, at)
                at += ENTER.size
                self._enter_directory(changes[at : at + length], inode)
                at += length
            elif kind == LEAVE_KIND:
                at += 1
                self._leave_directory()
            else:
                change = PackedChange(*CHANGE.unpack_from(changes, at))
                at += CHANGE.size
                if change.flags & SETID_FLAG:
                    change = PackedChange(*change[:8], *SETID.unpack_from(changes, at))
                    at += SETID.size
                start, at = at, at + change.length
                self._apply_change(changes[start:at], change)
                if kind == OWN_KIND:
                    self._leave_directory()
        self._chain.close()
        return Applied(bytes(self._outcomes), self._failures, self._stamps, self._first_ctime)

    def _take_open_dir(self) -> int:
        """Take the descriptor of the next directory, if scan left it open; else -1."""
        number, self._entered = self._entered, self._entered + 1
        if number >= len(self._open_dirs):
            return -1
        fd, self._open_dirs[number] = self._open_dirs[number], -1
        return fd

    def _enter_directory(self, name: bytes, inode: int) -> None:
        fd = self._take_open_dir()
        if self._lost_depth or self._ended:
            self._lost_depth += 1
            if fd >= 0:
                os.close(fd)
            return
        if fd >= 0 and not self._has_links:
            os.close(fd)  # whether it was removed is told by its path only
            fd = -1
        if fd >= 0:
            self._chain.push(name, inode, fd, is_pin=False)
            return
        try:
            fd = open_beneath(self._chain.fd(), name, PIN_DIRECTORY)
            found = os.fstat(fd)
        except OSError as error:
            self._lose_directory(error)
            if fd >= 0:
                os.close(fd)
            return
        if found.st_ino != inode:
            os.close(fd)
            self._lost_depth, self._lost = 1, Outcome.DIFFERENT
        else:
            self._chain.push(name, inode, fd)

    def _lose_directory(self, error: OSError) -> None:
        gone = error.errno in NOT_THERE
        self._lost_depth = 1
        self._lost = Outcome.GONE if gone else Refused("open", error.errno or 0)

    def _leave_directory(self) -> None:
        if self._lost_depth:
            self._lost_depth -= 1
        else:
            self._chain.pop()

    def _apply_change(self, name: bytes, change: PackedChange) -> None:
        """Apply one change and add its outcome. An empty name is the directory itself."""
        try:
            if change.flags & DROPPED_FLAG:
                outcome = Outcome.DROPPED
            elif self._ended:
                outcome = Outcome.UNTRIED
            elif self._lost_depth:
                if isinstance(self._lost, Refused):
                    raise self._lost
                outcome = self._lost
            else:
                outcome = self._pin_and_change(name, change)
        except Refused as refused:
            self._put_refusal(refused)
            outcome = Outcome.FAILED
        self._outcomes.append(outcome)
        if not self._succeeded:
            self._succeeded = outcome in (Outcome.CHANGED, Outcome.SETID_OFF)

    def _pin_and_change(self, name: bytes, change: PackedChange) -> Outcome:
        try:
            fd = self._chain.fd()
            if name:
                fd = os.open(name, PIN, dir_fd=fd)
        except OSError as error:
            if error.errno in NOT_THERE:
                return Outcome.GONE
            raise Refused("open", error.errno or 0) from None
        try:
            found = _stat(fd)
            self._is_pin = bool(name) or self._chain.is_pin
            if not self._is_pin and found.st_nlink == 0:
                return Outcome.GONE  # removed, but scan left it open
            if (
                found.st_ino != change.inode
                or stat.S_IFMT(found.st_mode) != stat.S_IFMT(change.mode)
                or found.st_uid != change.uid
                or (self._mount >= 0 and mount_id(fd) not in (-1, self._mount))
                or (self._born_before and birth_time(fd) >= self._born_before)
            ):
                return Outcome.DIFFERENT
            return self._verb(fd, found, change)
        finally:
            if name:
                os.close(fd)

    def _put_refusal(self, refused: Refused) -> None:
        index = len(self._outcomes)
        self._failures.append((index, refused.operation, refused.errno, refused.note))
        if refused.errno == errno.EROFS and not refused.note:
            self._ended = True
        denied = refused.errno == errno.EROFS or (refused.errno in DENIED and not refused.note)
        if denied and not self._succeeded:
            self._denied += 1
            self._ended = self._ended or self._denied == self._deny_limit

    # -- the verbs

    def _make_change(self, fd: int, found: os.stat_result, change: PackedChange) -> Outcome:
        if (found.st_mode, found.st_gid) != (change.mode, change.gid):
            return Outcome.DIFFERENT
        if change.gid != self._new_gid:
            self._chown(fd, self._new_gid)
        if change.new_mode != change.mode or change.mode & SET_ID:
            self._chmod(fd, change.new_mode)
        if not self._succeeded or change.flags & SETID_FLAG:
            self._read_back(fd, change)
        return Outcome.CHANGED

    def _read_back(self, fd: int, change: PackedChange) -> None:
        """Check what the first change made of its entry; stamp a file that lost set-id bits."""
        now = _stat(fd)
        if not self._succeeded:
            if (now.st_mode, now.st_gid) != (change.new_mode, self._new_gid):
                self._ended = True
                note = f"mode {stat.S_IMODE(now.st_mode):04o}, group {now.st_gid}"
                raise Refused("read back", 0, note)
            self._first_ctime = wrapped(now.st_ctime_ns)
        if change.flags & SETID_FLAG:
            self._stamp(now)

    def _stamp(self, found: os.stat_result) -> None:
        """Note the ctime of a file that lost set-id bits."""
        self._stamps.append((len(self._outcomes), wrapped(found.st_ctime_ns)))

    def _chown(self, fd: int, gid: int) -> None:
        try:
            change_group(fd, gid, is_pin=self._is_pin)
        except OSError as error:
            raise self._refused("chown", error, fd) from None

    def _chmod(self, fd: int, mode: int) -> None:
        try:
            change_mode(fd, mode, is_pin=self._is_pin)
        except OSError as error:
            raise self._refused("chmod", error, fd) from None

    def _refused(self, operation: str, error: OSError, fd: int) -> Refused:
        note = ""
        if error.errno == errno.EPERM:
            note = protection(fd)
        elif error.errno == errno.EROFS and not os.fstatvfs(self._root).f_flag & os.ST_RDONLY:
            note = READ_ONLY_PART
        return Refused(operation, error.errno or 0, note)

    def _settle_change(self, fd: int, found: os.stat_result, change: PackedChange) -> Outcome:
        now = (found.st_mode, found.st_gid)
        if now != (change.new_mode, self._new_gid):
            if now == (change.mode, change.gid):
                return Outcome.UNCHANGED
            if found.st_gid != self._new_gid or found.st_mode not in _between(change):
                return Outcome.DIFFERENT
            self._chmod(fd, change.new_mode)
            found = _stat(fd)
        ctime = wrapped(found.st_ctime_ns)
        if not self._first_ctime or ctime < self._first_ctime:
            self._first_ctime = ctime
        if change.flags & SETID_FLAG and _untouched(found, change):
            self._stamp(found)
        return Outcome.CHANGED

    def _put_back(self, fd: int, found: os.stat_result, change: PackedChange) -> Outcome:
        now = (found.st_mode, found.st_gid)
        if now == (change.mode, change.gid):
            return Outcome.UNCHANGED
        bare = without_set_id(change.mode)
        restored = restored_mode(change.mode, change.new_mode)
        ours = found.st_gid == self._new_gid and found.st_mode in (
            change.new_mode,
            *_between(change),
        )
        if not ours and now not in ((bare, change.gid), (restored, change.gid)):
            return Outcome.DIFFERENT
        if now != (restored, change.gid):
            if found.st_mode != bare:
                self._chmod(fd, bare)
            if found.st_gid != change.gid:
                self._chown(fd, change.gid)
            if restored != bare:
                self._chmod(fd, restored)
        return Outcome.CHANGED if restored == change.mode else Outcome.SETID_OFF


def _between(change: PackedChange) -> tuple[int, int, int]:
    """Return the modes that an entry may have between the calls that change it."""
    return change.mode, stripped(change.mode), without_set_id(change.mode)


def _untouched(found: os.stat_result, change: PackedChange) -> bool:
    return (found.st_size, wrapped(found.st_mtime_ns)) == (change.size, change.mtime)


def _stat(fd: int) -> os.stat_result:
    try:
        return os.fstat(fd)
    except OSError as error:
        raise Refused("stat", error.errno or 0) from None
