"""Many small volumes from v1 to v2 together, each step for all of them before the next one.

    blocks     all made, synced and read back
    headers    all made as parts, synced and read back; all linked to their names
    old maps   all removed
    locks      all released

For each volume the steps, and what a kill between any two leaves, are those of `upgrade`. It also
upgrades, alone, what is not small or not v1 under another name, and what met an error before its
header was in place.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from ..format.verdict import Plan
from . import upgrade
from .entries import BadEntry, new_blocks
from .files import Leaving, NewFile, PartLink, joined
from .preimage import VolumePreimage
from .store import Different, Store

MOST_BYTES = 16 << 20  # of new blocks, which are all in memory
Outcome = Exception | None


def first_batch(preimages: Sequence[VolumePreimage]) -> Sequence[VolumePreimage]:
    """Return the first volumes: as many as `MOST_BYTES` allow, at least one."""
    size = 0
    for number, preimage in enumerate(preimages):
        size += preimage.header.block_length(0) if _is_plain(preimage) else 0
        if number and size > MOST_BYTES:
            return preimages[:number]
    return preimages


def apply(store: Store, preimages: Sequence[VolumePreimage]) -> Sequence[Outcome]:
    """Upgrade volumes whose locks are held; release them, unless a header is torn.

    Return what `upgrade.apply` would raise for each: OSError, Different, BadEntry, HalfDone, or
    None. Durable on return.
    """
    batch = _Batch(store, [preimage for preimage in preimages if _is_plain(preimage)])
    try:
        batch.run()
        for preimage in preimages:
            if preimage.volume not in batch.outcomes:
                begun = batch.begun.get(preimage.volume, 0)
                work = partial(upgrade.apply, store, preimage, begun)
                batch.outcomes[preimage.volume] = _caught(work)
    except BaseException:
        for preimage in preimages:
            if preimage.volume not in batch.outcomes:
                with suppress(OSError):  # a lock that stays is a dead run's
                    store.release_locks(preimage.lock_names)
        raise
    return [batch.outcomes[preimage.volume] for preimage in preimages]


def _is_plain(preimage: VolumePreimage) -> bool:
    return preimage.plan is Plan.RENAME and preimage.header.blocks <= 1


def _caught(work: Callable[[], None]) -> Outcome:
    try:
        work()
    except (OSError, Different, BadEntry, upgrade.HalfDone) as error:
        return error
    return None


def _may_have_header(store: Store, volume: VolumePreimage, inode: int) -> bool:
    with suppress(OSError):
        return upgrade.has_header(store, volume, inode)
    return True


class _Batch:
    """One batch. Whoever has no outcome in the end is to be upgraded alone.

    `begun` has how many blocks of each were begun.
    """

    def __init__(self, store: Store, plain: Sequence[VolumePreimage]) -> None:
        self.outcomes: dict[bytes, Outcome] = {}
        self.begun: dict[bytes, int] = {}
        self._store = store
        self._plain = plain

    def run(self) -> None:
        """Take all steps."""
        blocks = self._converted()
        with_blocks = self._make_blocks(blocks)
        linked = self._link_headers(with_blocks)
        self._remove_old(linked)
        self._release(linked)

    def _converted(self) -> list[tuple[VolumePreimage, list[NewFile]]]:
        """Return the block that each volume needs, if any; leave volumes that were changed."""
        converted = []
        for preimage in self._plain:
            with suppress(OSError, Different, BadEntry):  # it meets the error again, alone
                upgrade.refuse_different(self._store, preimage)
                blocks = [
                    NewFile(joined(parent), name, b"".join(content))
                    for number, content in enumerate(
                        new_blocks(self._store.maps, preimage, self._store.codec)
                    )
                    for parent, name in (preimage.block(number),)
                ]
                converted.append((preimage, blocks))
        return converted

    def _make_blocks(
        self, converted: Sequence[tuple[VolumePreimage, list[NewFile]]]
    ) -> list[VolumePreimage]:
        files = [block for _, blocks in converted for block in blocks]
        self.begun = {preimage.volume: len(blocks) for preimage, blocks in converted}
        made = iter(self._store.files.make(self._store.maps, files, named=True))
        return [
            preimage
            for preimage, blocks in converted
            if not any(error for error, _ in [next(made) for _ in blocks])
        ]

    def _link_headers(self, volumes: Sequence[VolumePreimage]) -> list[VolumePreimage]:
        store, linked = self._store, []
        parts = [
            NewFile(joined(volume.header_parent), store.part_name(volume.volume), volume.raw_header)
            for volume in volumes
        ]
        made = store.files.make(store.maps, parts, named=False)
        links = [
            (volume, PartLink(part.directory, part.name, volume.volume, inode))
            for volume, part, (error, inode) in zip(volumes, parts, made, strict=True)
            if not error
        ]
        errors = store.files.link(store.maps, [link for _, link in links], durable=True)
        for (volume, link), error in zip(links, errors, strict=True):
            if not error:
                linked.append(volume)
            elif _may_have_header(store, volume, link.inode):
                self._end(volume, upgrade.HalfDone(os.strerror(error)))
        return linked

    def _end(self, volume: VolumePreimage, outcome: Exception) -> None:
        """Note that a volume is not to be gone on with, and release its locks."""
        self.outcomes[volume.volume] = outcome
        with suppress(OSError):  # a lock that stays is a dead run's, and the next one sweeps it
            self._store.release_locks(volume.lock_names)

    def _remove_old(self, volumes: Sequence[VolumePreimage]) -> None:
        store = self._store
        files = [(volume, file) for volume in volumes for file in volume.sources]
        errors = store.files.remove(
            store.maps,
            [
                Leaving(joined(file.parent), file.name, file.inode, file.length, file.mtime)
                for _, file in files
            ],
            durable=True,
        )
        for (volume, _), error in zip(files, errors, strict=True):
            if error == errno.ESTALE:
                outcome = _caught(partial(upgrade.remove_old, store, volume))
                if outcome is not None:
                    self._end(volume, outcome)
            elif error:
                self._end(volume, upgrade.HalfDone(os.strerror(error)))

    def _release(self, volumes: Sequence[VolumePreimage]) -> None:
        store = self._store
        left = [volume for volume in volumes if volume.volume not in self.outcomes]
        names = [name for volume in left for name in volume.lock_names]
        held = store.locks.release_together(store.files, names)
        for volume in left:
            outcome = None
            if not held.isdisjoint(volume.lock_names):
                outcome = _caught(partial(upgrade.release, store, volume))
            self.outcomes[volume.volume] = outcome
