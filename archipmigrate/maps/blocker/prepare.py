"""The scan of one volume: judge it, and get ready for its upgrade (locks, verdict, pre-image).

Changes nothing of the volume. Its locks are held afterwards only if there is a pre-image.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, replace

from ...layout.names import shown
from ...layout.placement import v03_dir
from ..format.verdict import Plan, Result, Verdict
from .keep import Refused, check_block, keep_volume
from .preimage import VolumePreimage, lock_names
from .store import Locked, Store, held_by
from .volume_files import VolumeFiles, find_block, find_volume_files, is_locked_by_v03

# A volume may change between its verdict and the acquiring of its locks; then it is judged again.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A volume's verdict and, if it is to be upgraded, its pre-image: then its locks are held."""

    verdict: Verdict
    preimage: VolumePreimage | None = None


class Vanished(Exception):
    """There is no map of that volume any more."""


def existing_files(store: Store, volume: bytes) -> VolumeFiles:
    """Find the files of a volume. Raises Vanished if it has no map, OSError."""
    files = find_volume_files(store.maps, volume, store.sizes)
    if not files.volume.exists:
        raise Vanished
    return files


def peek(store: Store, volume: bytes) -> Verdict:
    """Return the verdict that `prepare` would give; acquire no lock and keep nothing.

    The result of a volume with a plan is `would-upgrade`, or why not. Raises Vanished, OSError.
    """
    files = existing_files(store, volume)
    verdict = files.verdict
    if verdict.plan is Plan.NONE:
        return verdict
    try:
        _refuse_v03_lock(store, files, verdict)
        for name in lock_names(volume, verdict.plan):
            holder = store.locks.holder(name)
            if holder is not None:
                raise Locked(held_by(name, holder))
        keep_volume(store, files, verdict)
    except Locked as locked:
        return replace(verdict, result=Result.LOCKED, reason=str(locked))
    except Refused as refused:
        return replace(verdict, result=refused.result, reason=str(refused))
    return replace(verdict, result=Result.WOULD_UPGRADE)


def check_current(store: Store, volume: bytes, verdict: Verdict) -> Verdict:
    """Read the blocks of a current map; return its verdict, or `invalid`. Raises OSError."""
    assert verdict.head is not None  # noqa: S101 -- a current volume has a map
    if verdict.head.is_deleted:
        return verdict
    header = verdict.head.header
    try:
        for number in range(header.blocks):
            block = find_block(store.maps, volume, number)
            if block is None:
                raise Refused(Result.INVALID, f"block {number} is missing")
            check_block(store, block, header.block_length(number))
    except Refused as refused:
        return replace(verdict, result=refused.result, reason=str(refused))
    return verdict


def prepare(store: Store, volume: bytes, plan: Plan) -> Prepared:
    """Acquire the locks that *plan* needs, judge the volume under them, keep what goes away.

    The files that are kept are durable after `OldMaps.sync`. Raises Vanished, OSError,
    JournalError; no lock is held then.
    """
    for _ in range(ATTEMPTS):
        names = lock_names(volume, plan)
        try:
            store.acquire_locks(names)
        except Locked as locked:
            verdict = existing_files(store, volume).verdict
            if verdict.plan is not Plan.NONE:
                verdict = replace(verdict, result=Result.LOCKED, reason=str(locked))
            return Prepared(verdict)
        try:
            prepared = _under_locks(store, volume)
        except BaseException:
            with suppress(OSError):
                store.release_locks(names)
            raise
        if prepared.preimage is not None and prepared.verdict.plan is plan:
            return prepared
        store.release_locks(names)
        if prepared.preimage is None:
            return prepared
        plan = prepared.verdict.plan
    raise OSError(errno.EAGAIN, "the volume keeps changing")


def _under_locks(store: Store, volume: bytes) -> Prepared:
    files = existing_files(store, volume)
    verdict = files.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, files, verdict)
        return Prepared(verdict, keep_volume(store, files, verdict))
    except Refused as refused:
        return Prepared(replace(verdict, result=refused.result, reason=str(refused)))


def _refuse_v03_lock(store: Store, files: VolumeFiles, verdict: Verdict) -> None:
    name = files.volume.prefixed.name
    parents = [file.parent for file in files.of_name(prefixed=True)]
    at_v03_dir = v03_dir(name) in parents
    if verdict.plan is Plan.RENAME and at_v03_dir and is_locked_by_v03(store.maps, name):
        raise Refused(Result.LOCKED, f"{shown(name)} is held by v0.3 (its lock lies beside it)")
