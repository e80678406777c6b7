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
from .volume_files import VolumeFiles, find_block, find_volume_files

HELD_BY_V03 = " is held by v0.3 (its lock lies beside it)"
# A volume may change between its verdict and the acquiring of its locks; then it is judged again.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Prepared:
    """A volume's verdict and, if it is to be upgraded, its pre-image: then its locks are held.

    `warning` is what the user should know of it, or "".
    """

    verdict: Verdict
    preimage: VolumePreimage | None = None
    warning: str = ""


class Vanished(Exception):
    """There is no map of that volume any more."""


def existing_files(store: Store, volume: bytes) -> VolumeFiles:
    """Find the files of a volume. Raises Vanished if it has no map, OSError."""
    files = find_volume_files(store.maps, volume, store.sizes)
    if not files.volume.exists:
        raise Vanished
    return files


def peek(store: Store, volume: bytes) -> Prepared:
    """Return what `prepare` would, without a pre-image; acquire no lock and keep nothing.

    The result of a volume with a plan is `would-upgrade`, or why not. Raises Vanished, OSError.
    """
    files = existing_files(store, volume)
    prepared = _before_locks(store, files)
    verdict = prepared.verdict
    if verdict.result is not Result.PENDING:
        return prepared
    try:
        for name in lock_names(volume, verdict.plan):
            holder = store.locks.holder(name)
            if holder is not None:
                raise Locked(held_by(name, holder))
        keep_volume(store, files, verdict)
    except Locked as locked:
        return Prepared(replace(verdict, result=Result.LOCKED, reason=str(locked)))
    except Refused as refused:
        return Prepared(_refused(verdict, refused))
    return replace(prepared, verdict=replace(verdict, result=Result.WOULD_UPGRADE))


def check_current(store: Store, files: VolumeFiles, verdict: Verdict) -> Prepared:
    """Read the blocks of a current map, and look for its objects.

    The verdict stays, or becomes `invalid` or `misplaced`. Raises OSError.
    """
    assert verdict.head is not None  # noqa: S101 -- a current volume has a map
    if verdict.head.is_deleted:
        return Prepared(verdict)
    header = verdict.head.header
    try:
        for number in range(header.blocks):
            block = find_block(store.maps, files.volume.plain.name, number)
            if block is None:
                raise Refused(Result.INVALID, f"block {number} is missing")
            check_block(store, block, header.block_length(number))
        return Prepared(verdict, warning=_refuse_misplaced(store, files, verdict, prefixed=False))
    except Refused as refused:
        return Prepared(_refused(verdict, refused))


def prepare(store: Store, volume: bytes, plan: Plan) -> Prepared:
    """Acquire the locks that *plan* needs, judge the volume under them, keep what goes away.

    A volume that can be refused without them is: it gets no lock, nor directories for one. The
    files that are kept are durable after `OldMaps.sync`. Raises Vanished, OSError, JournalError; no
    lock is held then.
    """
    for _ in range(ATTEMPTS):
        before = before_locks(store, volume)
        if before.verdict.result is not Result.PENDING:
            return before
        names = lock_names(volume, plan)
        try:
            store.acquire_locks(names)
        except Locked as locked:
            verdict = existing_files(store, volume).verdict
            if verdict.plan is not Plan.NONE:
                verdict = replace(verdict, result=Result.LOCKED, reason=str(locked))
            return Prepared(verdict)
        prepared = under_locks(store, volume, plan)
        if prepared.preimage is not None:
            return replace(prepared, warning=before.warning)
        if prepared.verdict.result is not Result.PENDING:
            return prepared
        plan = prepared.verdict.plan
    raise OSError(errno.EAGAIN, "the volume keeps changing")


def before_locks(store: Store, volume: bytes) -> Prepared:
    """Judge a volume without its locks; its result is pending if it is to acquire them.

    Raises Vanished, OSError.
    """
    return _before_locks(store, existing_files(store, volume))


def under_locks(store: Store, volume: bytes, plan: Plan) -> Prepared:
    """Judge a volume again under the locks that *plan* needs, and keep what goes away.

    Release the locks if there is no pre-image. The result is pending without one if the volume
    needs another plan, and its locks, by now. Raises Vanished, OSError, JournalError; no lock is
    held then.
    """
    names = lock_names(volume, plan)
    try:
        prepared = _under_locks(store, volume)
    except BaseException:
        with suppress(OSError):
            store.release_locks(names)
        raise
    if prepared.preimage is not None and prepared.verdict.plan is plan:
        return prepared
    store.release_locks(names)
    return replace(prepared, preimage=None)


def _before_locks(store: Store, files: VolumeFiles) -> Prepared:
    """Judge a volume by what no lock protects: v0.3's own lock, and where its objects lie."""
    verdict = files.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, files, verdict)
        prefixed = verdict.plan is not Plan.IN_PLACE
        return Prepared(
            verdict, warning=_refuse_misplaced(store, files, verdict, prefixed=prefixed)
        )
    except Refused as refused:
        return Prepared(_refused(verdict, refused))


def _under_locks(store: Store, volume: bytes) -> Prepared:
    files = existing_files(store, volume)
    verdict = files.verdict
    if verdict.plan is Plan.NONE:
        return Prepared(verdict)
    try:
        _refuse_v03_lock(store, files, verdict)
        return Prepared(verdict, keep_volume(store, files, verdict))
    except Refused as refused:
        return Prepared(_refused(verdict, refused))


def _refused(verdict: Verdict, refused: Refused) -> Verdict:
    return replace(verdict, result=refused.result, reason=str(refused))


def _refuse_v03_lock(store: Store, files: VolumeFiles, verdict: Verdict) -> None:
    name = files.volume.prefixed.name
    parents = [file.parent for file in files.of_name(prefixed=True)]
    at_v03_dir = v03_dir(name) in parents
    if verdict.plan is Plan.RENAME and at_v03_dir and store.is_held_by_v03(name):
        raise Refused(Result.LOCKED, shown(name) + HELD_BY_V03)


def _refuse_misplaced(store: Store, files: VolumeFiles, verdict: Verdict, *, prefixed: bool) -> str:
    """Refuse a volume whose objects lie where v0.3 put them; return what is to be warned of, or "".

    *prefixed* says which of the two maps names them. Raises Refused, OSError.
    """
    if store.objects is None or verdict.head is None:
        return ""
    file = files.of_name(prefixed=prefixed)[0]
    where = store.objects.look(store.maps, file, verdict.head, store.codec)
    if where.misplaced is not None:
        path = shown(b"/".join(where.misplaced.path))
        raise Refused(
            Result.MISPLACED,
            f"object {path} lies where v0.3 put it, not where v0.4 looks: move the objects first "
            "(archipmigrate relocate)",
        )
    if not where.missing:
        return ""
    words = f"{where.missing:,} of {where.looked:,} objects looked at are nowhere"
    return f"{words}, the first of them {shown(where.first_missing)}"
