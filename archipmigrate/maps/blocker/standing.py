"""How far an upgrade came: which map v0.4 finds, and whether the old one is still the same."""

from __future__ import annotations

import os
from contextlib import suppress
from enum import Enum, auto

from ...layout.placement import v03_dir
from ...tree.files import status
from ..format import v2
from .preimage import OldFile, VolumePreimage
from .store import Store


class Standing(Enum):
    """Which map v0.4 finds."""

    OLD = auto()  # the old map, as it was
    TORN = auto()  # a header of which some bytes are new
    NEW = auto()  # the new map
    OTHER = auto()  # none that this run left


def standing_of(store: Store, preimage: VolumePreimage) -> Standing:
    """Return which map v0.4 finds. Raises OSError."""
    there = store.read_first(preimage, v2.HEADER_SIZE)
    if there == preimage.raw_header:
        return Standing.NEW
    sources = [_found(store, file) is not None for file in preimage.sources]
    if preimage.in_place:
        if there is None or not all(sources):
            return Standing.OTHER
        return _standing_in_place(preimage, there)
    if there is None:
        return Standing.OLD if all(sources) else Standing.OTHER
    return Standing.NEW if _is_v2(there) and not any(sources) else Standing.OTHER


def _standing_in_place(preimage: VolumePreimage, there: bytes) -> Standing:
    if there == preimage.first:
        return Standing.OLD
    if preimage.is_torn(there):
        return Standing.TORN
    return Standing.NEW if _is_v2(there) else Standing.OTHER


def _is_v2(there: bytes) -> bool:
    try:
        v2.decode_header_v2(there)
    except ValueError:
        return False
    return True


def _found(store: Store, file: OldFile) -> os.stat_result | None:
    """Return the status of an old file; None if it is gone."""
    with suppress(FileNotFoundError), store.maps.directory(file.parent) as directory:
        found = status(directory, file.name)
        return found if found is not None and found.st_ino == file.inode else None
    return None


def is_unchanged(store: Store, preimage: VolumePreimage) -> bool:
    """Whether nobody has written to the old map since its pre-image, and no v0.3 is about to.

    Raises OSError.
    """
    for file in preimage.sources:
        found = _found(store, file)
        if found is None or not file.is_same(found):
            return False
        if file.parent == v03_dir(file.name) and store.is_held_by_v03(file.name):
            return False
    return True
