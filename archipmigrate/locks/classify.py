"""Whose lock a file is, and whether somebody may hold it: by its name, place and content. Pure.

    kind        what it is                                   nobody holds it
    held        a holder's name is in it, where v0.4 takes   never, as far as anybody can tell
                a lock
    v0.3        empty, 0700, at v0.3's place, or moved to    once v0.3 is stopped on all nodes: it
                where v0.4 looks                             never releases a lock
    temporary   `N_lock<holder>_xy`, which becomes a lock    after `YOUNG` seconds: a lock is taken
                                                             within milliseconds
    ours        of a run over maps of this program           once that run needs it no more
    odd         is called like a lock, but is none of these  not known

What is odd is always left.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

from ..layout.names import Role, lock_name, parse_name
from ..relocate.places import sha256_directory, v03_directory
from .lock import LONGEST, Kind, Lock, Root

OURS = b"archipmigrate_"
# Seconds. A client of NFS may be cut off from its server for minutes, and clocks differ.
YOUNG = 3600
SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a lock is. `is_free`: nobody can hold it any more; `note` says why, or why not."""

    kind: Kind
    holder: bytes = b""
    note: str = ""
    is_free: bool = False
    is_needed: bool = False  # by a run of ours, which must be finished first


def volume_of(name: bytes) -> bytes:
    """Return the volume whose lock, or part of one, this is."""
    return parse_name(name).volume


def is_lock_name(name: bytes) -> bool:
    """Whether a file is called like a lock or a part of one."""
    return parse_name(name).role in (Role.LOCK, Role.LOCK_PART) or name.endswith(b"_lock")


def judge(lock: Lock, runs: Mapping[bytes, str], now: int) -> Verdict:
    """Return what a lock is.

    *runs* are the holders' names of known runs of ours, each with why its locks are needed ("":
    they are not). *now* is in ns.
    """
    if lock.root is Root.LOCKS and not is_lock_name(lock.name):
        return Verdict(Kind.ODD, note="not a lock")
    if lock.length < 0:
        return Verdict(Kind.ODD, note="no regular file")
    if lock.mode & SET_ID:
        return Verdict(Kind.ODD, note="it has set-id bits")
    if lock.length > LONGEST:
        return Verdict(Kind.ODD, note=f"too long for a lock: {lock.length:,} bytes")
    if parse_name(lock.name).role is Role.LOCK_PART:
        return _judge_part(lock, runs, now)
    return _judge_lock(lock, runs)


def _judge_lock(lock: Lock, runs: Mapping[bytes, str]) -> Verdict:
    holder = lock.content.rstrip(b"\0")
    is_at_v04 = _is_taken_here(lock, lock.name)
    if not is_at_v04 and lock.directory != v03_directory(lock.name):
        return Verdict(Kind.ODD, holder, "where neither v0.3 nor v0.4 looks for it")
    if not holder:
        if lock.length or lock.mode & stat.S_IRWXU != stat.S_IRWXU:
            return Verdict(Kind.ODD, note="it names no holder, and is not as v0.3 makes one")
        return Verdict(Kind.V03, is_free=True)
    if not is_at_v04:
        return Verdict(Kind.ODD, holder, "where v0.3 has its locks, but not empty")
    if holder.startswith(OURS):
        return _judge_ours(holder, runs)
    return Verdict(Kind.HELD, holder)


def _judge_part(lock: Lock, runs: Mapping[bytes, str], now: int) -> Verdict:
    parsed = parse_name(lock.name)
    holder, content = parsed.holder, lock.content.rstrip(b"\0")
    if not (_is_taken_here(lock, lock_name(parsed.map_name)) and holder.startswith(content)):
        return Verdict(Kind.ODD, content, "called like a temporary lock, but it is none")
    if why := runs.get(holder, ""):
        return Verdict(Kind.TEMPORARY, holder, why, is_needed=True)
    if now - lock.mtime < YOUNG * 1_000_000_000:
        why = f"younger than {YOUNG // 60} minutes: it may be in use"
        return Verdict(Kind.TEMPORARY, holder, why)
    return Verdict(Kind.TEMPORARY, holder, "stale", is_free=True)


def _is_taken_here(lock: Lock, name: bytes) -> bool:
    """Whether v0.4, and we, take the lock called *name* in the directory that this file is in."""
    return lock.root is Root.LOCKS or lock.directory == sha256_directory(name)


def _judge_ours(holder: bytes, runs: Mapping[bytes, str]) -> Verdict:
    if holder not in runs:
        why = "its run has no journal here: resume or undo it where that is"
        return Verdict(Kind.OURS, holder, why)
    if why := runs[holder]:
        return Verdict(Kind.OURS, holder, why, is_needed=True)
    return Verdict(Kind.OURS, holder, "its run needs it no more", is_free=True)
