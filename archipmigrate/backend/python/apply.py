"""Apply, in Python: makes, settles or puts back packed changes.

Invariant: an entry is changed only through a descriptor that pins it, and only if inode, type,
mode, uid and gid are those that its change allows. Owner and group first, by one call, then mode;
on the way back mode first.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from array import array
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from ...model import Applied, IdentityKind, Known, Outcome, StopFlag, Verb
from ...packed.changes import (
    CHANGE,
    DROPPED_FLAG,
    ENTER,
    ENTER_KIND,
    LEAVE_KIND,
    OWN_KIND,
    SETID,
    SETID_FLAG,
    Header,
)
from ...policy import NO_ID, restored_mode, stripped, without_set_id
from ...tree.beneath import PIN, PIN_DIRECTORY, open_beneath
from ..aspects import differences, sets_gid
from ..base import READ_ONLY_PART
from .dirchain import DirChain
from .identity import identity_of, kind_of
from .setattr import change_mode, change_owner
from .statx import Status, protection, status

SET_ID = stat.S_ISUID | stat.S_ISGID
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
DENIED = (errno.EPERM, errno.EACCES)

# Mode, owner and group as they are compared: without the owner (NO_ID) where owners stay as they
# are, and tell whether an entry is the one of its change.
Attrs: TypeAlias = tuple[int, int, int]


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
        known: Known,
        kept: int,
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
        self._known = known
        self._known_came = {index: (mode, uid, gid) for index, mode, uid, gid in known.came}
        self._chain = DirChain(root, descriptors)
        self._is_pin = True  # the entry at hand is open by O_PATH
        self._open_dirs = open_dirs
        found = _root_status(root)
        # Some filesystems tell 0 links of all directories, also of the root.
        self._has_links = found.links > 0
        self._root_mount = found.mount
        notes = verb in (Verb.FORWARD, Verb.SETTLE)
        self._identity_kind = kind_of(root, found) if notes else IdentityKind.NONE
        self._identities: dict[int, int] = {}
        self._stop = stop
        self._entered = 0
        self._new_uid = self._new_gid = NO_ID
        self._mount = -1  # entries on others are not changed; -1: they are, or it is not known
        self._outcomes = bytearray()
        self._failures: list[tuple[int, str, int, str]] = []
        self._stamps: list[tuple[int, int]] = []
        self._first_ctime = 0
        self._came: list[tuple[int, int, int, int]] = []
        self.kept = kept  # aspects that changes have shown to be kept
        self._mismatch = False
        self._denied = 0
        self._succeeded = False
        self._ended = False
        # In a directory that cannot be entered: how deep, and the outcome of all changes in it.
        self._lost_depth = 0
        self._lost: Outcome | Refused = Outcome.GONE

    def run(self, changes: bytes) -> Applied:
        """Apply all changes, frame by frame (see `base.Backend.apply`)."""
        header = Header.of(changes)
        self._new_uid, self._new_gid = header.uid, header.gid
        if header.bounded and self._verb == self._make_change:
            self._mount = self._root_mount
        at, end = header.size, len(changes)
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
        return Applied(
            bytes(self._outcomes),
            self._failures,
            self._stamps,
            self._first_ctime,
            self._came,
            self._identity_kind,
            self._packed_identities(),
            self._mismatch,
        )

    def _packed_identities(self) -> bytes:
        if self._identity_kind == IdentityKind.NONE:
            return b""
        count = len(self._outcomes)
        return struct.pack(f"<{count}Q", *(self._identities.get(i, 0) for i in range(count)))

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
            found = _status(fd)
            self._is_pin = bool(name) or self._chain.is_pin
            if not self._is_pin and found.links == 0:
                return Outcome.GONE  # removed, but scan left it open
            if (
                found.inode != change.inode
                or stat.S_IFMT(found.mode) != stat.S_IFMT(change.mode)
                or (self._new_uid == NO_ID and found.uid != change.uid)
                or (self._mount >= 0 and found.mount not in (-1, self._mount))
                or self._has_other_identity(fd, found)
            ):
                return Outcome.DIFFERENT
            return self._verb(fd, found, change)
        finally:
            if name:
                os.close(fd)

    def _has_other_identity(self, fd: int, found: Status) -> bool:
        """Say whether an entry has the inode number of the change's entry, and is another one."""
        known = self._known
        if known.kind not in (IdentityKind.BIRTH, IdentityKind.HANDLE):
            return known.born_before != 0 and found.born >= known.born_before
        then = known.identity(len(self._outcomes))
        now = identity_of(known.kind, fd, found) if then else 0
        return now not in (0, then)

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

    def _make_change(self, fd: int, found: Status, change: PackedChange) -> Outcome:
        wanted = self._new(change)
        if self._of(found) != self._of(change):
            return Outcome.DIFFERENT
        self._chown(fd, found, wanted)
        try:
            if change.new_mode != change.mode or change.mode & SET_ID:
                self._chmod(fd, change.new_mode)
        except Refused:
            with suppress(Refused):  # half done
                self._note_identity(fd, _status(fd))
            raise
        now = self._read_back(fd, found, wanted)
        if not self._first_ctime:
            self._first_ctime = now.ctime
        if change.flags & SETID_FLAG:
            self._stamp(now)
        return Outcome.CHANGED

    def _of(self, entry: Status | PackedChange) -> Attrs:
        """Return what an entry has, or had, as it is compared."""
        return entry.mode, NO_ID if self._new_uid == NO_ID else entry.uid, entry.gid

    def _new(self, change: PackedChange) -> Attrs:
        return change.new_mode, self._new_uid, self._new_gid

    def _read_back(self, fd: int, before: Status, wanted: Attrs) -> Status:
        """Look what came of a change. Raises Refused if it is not as *wanted*."""
        now = _status(fd)
        self._note_identity(fd, now)
        came = self._of(now)
        lost = differences(wanted, came)
        touched = differences(self._of(before), wanted) | sets_gid(wanted[0])
        if not lost:
            self.kept |= touched
            return now
        if touched & lost & ~self.kept:
            self._mismatch = True
            self._ended = self._ended or self._verb != self._settle_change
        self._came.append((len(self._outcomes), *came))
        raise Refused("read back", 0)

    def _note_identity(self, fd: int, found: Status) -> None:
        identity = identity_of(self._identity_kind, fd, found)
        if identity:
            self._identities[len(self._outcomes)] = identity

    def _stamp(self, found: Status) -> None:
        """Note the ctime of a file that lost set-id bits."""
        self._stamps.append((len(self._outcomes), found.ctime))

    def _chown(self, fd: int, found: Status, wanted: Attrs) -> None:
        """Set owner and group, if they are others, by one call."""
        _, uid, gid = self._of(found)
        if (uid, gid) == wanted[1:]:
            return
        uid = NO_ID if uid == wanted[1] else wanted[1]
        gid = NO_ID if gid == wanted[2] else wanted[2]
        try:
            change_owner(fd, uid, gid, is_pin=self._is_pin)
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

    def _settle_change(self, fd: int, found: Status, change: PackedChange) -> Outcome:
        now, wanted = self._of(found), self._new(change)
        if now != wanted:
            if now == self._of(change):
                return Outcome.UNCHANGED
            modes = (*_between(change), _unread(change))
            if now[1:] != wanted[1:] or found.mode not in modes:
                return Outcome.DIFFERENT
            self._note_identity(fd, found)
            self._chmod(fd, change.new_mode)
            found = self._read_back(fd, found, wanted)
        else:
            self._note_identity(fd, found)
        if not self._first_ctime or found.ctime < self._first_ctime:
            self._first_ctime = found.ctime
        if change.flags & SETID_FLAG and self._is_untouched(found, change):
            self._stamp(found)
        return Outcome.CHANGED

    def _put_back(self, fd: int, found: Status, change: PackedChange) -> Outcome:
        now, old = self._of(found), self._of(change)
        if now == old:
            return Outcome.UNCHANGED
        bare = without_set_id(change.mode)
        wanted = (restored_mode(change.mode, change.new_mode), *old[1:])
        if now not in ((bare, *old[1:]), wanted) and not self._is_ours(now, change):
            return Outcome.DIFFERENT
        if now != wanted:
            if found.mode != bare:
                self._chmod(fd, bare)
            self._chown(fd, found, wanted)
            if wanted[0] != bare:
                self._chmod(fd, wanted[0])
            self._read_back(fd, found, wanted)
        return Outcome.CHANGED if wanted[0] == change.mode else Outcome.SETID_OFF

    def _is_ours(self, now: Attrs, change: PackedChange) -> bool:
        """Say whether attributes are what the run left, half-done states included."""
        left = self._new(change), self._known_came.get(len(self._outcomes))
        return any(
            attrs is not None and now[1:] == attrs[1:] and now[0] in (attrs[0], *_between(change))
            for attrs in left
        )

    def _is_untouched(self, found: Status, change: PackedChange) -> bool:
        """Say whether nobody wrote to a file: a new owner may set its mtime back."""
        keeps_owner = self._new_uid in (NO_ID, change.uid)
        return keeps_owner and (found.size, found.mtime) == (change.size, change.mtime)


def _between(change: PackedChange) -> tuple[int, int, int]:
    """Return the modes that an entry may have between the calls that change it."""
    return change.mode, stripped(change.mode), without_set_id(change.mode)


def _unread(change: PackedChange) -> int:
    """Return the mode that a change which a kill hid may have left: set-gid was dropped."""
    return change.new_mode & ~stat.S_ISGID if stat.S_ISDIR(change.mode) else change.new_mode


def _root_status(root: int) -> Status:
    try:
        return status(root)
    except OSError:  # the entries will tell
        return Status(0, 0, 0, 0, 0, 0, 0, 0, 0, -1)


def _status(fd: int) -> Status:
    try:
        return status(fd)
    except OSError as error:
        raise Refused("stat", error.errno or 0) from None
