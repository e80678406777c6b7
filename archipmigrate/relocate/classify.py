"""What a file of a blocker's directory is, by its name, its place and its size. Pure.

v0.3 put an object where the bytes 7 to 12 of its name say, v0.4 looks where the sha256 of the name
says, and Pithos' objects lie where their first six digits say. Placement is arithmetic of names
only; where a file *is* was found by walking.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..layout.names import LOCK, PREFIX, bad_name, is_digest, is_v03_data
from ..packed.moves import Root
from .places import pithos_directory, sha256_directory, tree_directory, v03_directory


class Class(StrEnum):
    """What a file is, and so what happens to it. The words are shown, and in journals."""

    MOVED = "moved"  # where v0.3 put it; it goes to where v0.4 looks, and is one of these four:
    MOVED_BLOCKS = "moved-blocks"
    MOVED_MAPS = "moved-maps"
    LINKED = "linked"  # at its new place already: the old name is removed
    MERGED = "merged"  # the same content is at its new place: the old name is removed
    MIGRATED = "pithos-migrated"  # moved from Pithos' place as v0.4's pithos_migrate does
    PITHOS_COPIED = "pithos-copied"  # from Pithos' own tree, which stays
    PITHOS_MOVED = "pithos-moved"  # from Pithos' own tree
    PITHOS_HERE = "pithos-here"  # in Pithos' own tree, and its equal where v0.4 looks
    CURRENT = "current"  # where v0.4 looks already
    PITHOS = "pithos"  # at Pithos' place, where v0.4 looks, too
    PLACEHOLDER = "placeholder"
    LOCK = "lock"
    STRAY = "stray"
    UNOPENABLE = "unopenable"
    FOREIGN = "foreign"
    CONFLICT = "conflict"
    OUTSIDE = "outside"
    MISSING = "missing"


# What users see of the classes that are listed: why, and what to do.
WHY = {
    Class.PLACEHOLDER: "empty: no volume of that name was ever made, or it was deleted: left",
    Class.LOCK: "a lock that v0.3 never released: left (archipmigrate locks --clean)",
    Class.STRAY: "empty: v0.3 made it when it looked for an object of Pithos: left",
    Class.UNOPENABLE: "only v0.3 can open a volume of this name: copy it to a new one there",
    Class.FOREIGN: "of no use to v0.3 or v0.4 in this place: left",
    Class.CONFLICT: "differs from what is at its new place: both are kept",
    Class.OUTSIDE: "leads out of the blocker's directory: not followed",
    Class.MISSING: "an object that a map names is nowhere: v0.3 served zeros, v0.4 fails",
}
# With one of these v0.4 does not find what v0.3 served: the run ends with status 3.
BAD = (Class.CONFLICT, Class.OUTSIDE, Class.MISSING)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of a file, and what is to be said of it beyond `WHY`."""

    kind: Class
    note: str = ""


def classify(root: Root, directory: bytes, name: bytes, size: int) -> Verdict:
    """Return what a regular file is; *directory* is its path from its root."""
    if root.is_pithos:
        return _in_pithos_tree(root, directory, name, size)
    return _in_blocker(root, directory, name, size)


def _in_blocker(root: Root, directory: bytes, name: bytes, size: int) -> Verdict:
    if directory == sha256_directory(name):
        return Verdict(Class.CURRENT)
    if name.endswith(LOCK):
        return _lock(root, size)
    if is_digest(name):
        return _digest(directory, name, size)
    if root is Root.MAPS and name.startswith(PREFIX):
        return _map(directory, name, size)
    if root is Root.BLOCKS and is_v03_data(name):
        return _at_old_place(directory, name)
    return Verdict(Class.FOREIGN)


def _in_pithos_tree(root: Root, directory: bytes, name: bytes, size: int) -> Verdict:
    """Judge what lies in Pithos' own tree.

    v0.3 looks there for any name, by its first six bytes: `archip_foobar` is in `ar/ch/ip`.
    """
    is_ours = is_digest(name) or name.startswith(PREFIX)
    if directory != tree_directory(name) or not is_ours:
        return Verdict(Class.FOREIGN)
    if name.endswith(LOCK):
        return _lock(root.blocker, size)
    if root is Root.PITHOS_BLOCKS and not (is_digest(name) or is_v03_data(name)):
        return Verdict(Class.FOREIGN)
    if root is Root.PITHOS_MAPS and not size:
        return Verdict(Class.PLACEHOLDER)
    why = bad_name(name.removeprefix(PREFIX)) if root is Root.PITHOS_MAPS else ""
    return Verdict(Class.UNOPENABLE, why) if why else Verdict(Class.MOVED)


def _lock(root: Root, size: int) -> Verdict:
    if root is Root.BLOCKS:
        return Verdict(Class.FOREIGN)
    note = "" if not size else "a lock with something in it: look at it before you remove it"
    return Verdict(Class.LOCK, note)


def _digest(directory: bytes, name: bytes, size: int) -> Verdict:
    """Judge a name of 64 hex digits: an object, or a map, of Pithos."""
    if directory == pithos_directory(name):
        return Verdict(Class.PITHOS)
    if directory == v03_directory(name):
        if not size:
            return Verdict(Class.STRAY)
        return Verdict(Class.CONFLICT, "an object of Pithos where only v0.3 looks, and not empty")
    return Verdict(Class.FOREIGN)


def _map(directory: bytes, name: bytes, size: int) -> Verdict:
    if not size:
        return Verdict(Class.PLACEHOLDER)
    if why := bad_name(name.removeprefix(PREFIX)):
        return Verdict(Class.UNOPENABLE, f"{why}; copy it to another name while v0.3 can read it")
    return _at_old_place(directory, name)


def _at_old_place(directory: bytes, name: bytes) -> Verdict:
    place = v03_directory(name)
    if place is None:
        return Verdict(Class.OUTSIDE, "v0.3 looks for it outside of the blocker's directory")
    return Verdict(Class.MOVED if directory == place else Class.FOREIGN)
