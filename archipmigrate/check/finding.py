"""What a check finds. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum


class Level(IntEnum):
    """How much a finding matters; the order is that of badness."""

    OK = 0
    WARNING = 1  # to be known or done, but nothing is lost if it is not
    BLOCKER = 2  # v0.4 would not serve all that v0.3 served, or a job would fail

    @property
    def word(self) -> str:
        """The level as users see it."""
        return self.name.lower()


class Topic(StrEnum):
    """What findings are about. The words are shown, and in JSON."""

    MOUNT = "mount"  # blocks, maps and locks: there, mounted, not empty
    FILESYSTEM = "filesystem"  # one, and nothing leads out of it
    NFS = "nfs"  # version and options of the mount
    SQUASH = "squash"  # whether root may change owners there
    USER = "user"
    GROUP = "group"
    HOSTS = "hosts"  # numbers of user and group elsewhere
    DAEMONS = "daemons"
    RUNS = "runs"  # unfinished ones of ours
    EXTENSION = "extension"
    ACL = "acl"
    OWNERS = "owners"
    PLACES = "places"  # of objects and maps: where v0.4 looks, or not
    CONFLICTS = "conflicts"  # between old and new places; missing objects; what leads outside
    NAMES = "names"  # that v0.4 cannot open
    LOCKS = "locks"
    MAPS = "maps"  # their versions and results
    DRIFT = "drift"  # what perms would change
    LINKS = "links"
    ROOM = "room"
    VOLUMES = "volumes"  # their objects and contents, one by one


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the page.

    `text` says what is, `todo` what to do about it ("": nothing); where that is a command, it can
    be copied. `data` has the figures behind the text, as JSON takes them.
    """

    topic: Topic
    level: Level
    text: str
    todo: str = ""
    data: Mapping[str, object] = field(default_factory=dict)


def ok(topic: Topic, text: str, **data: object) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(topic, Level.OK, text, "", data)


def warning(topic: Topic, text: str, todo: str, **data: object) -> Finding:
    """Return a finding to be known, or to be done."""
    return Finding(topic, Level.WARNING, text, todo, data)


def blocker(topic: Topic, text: str, todo: str, **data: object) -> Finding:
    """Return a finding that must be mended first."""
    return Finding(topic, Level.BLOCKER, text, todo, data)


def worst(levels: Iterable[Level]) -> Level:
    """Return the worst of levels; OK of none."""
    return max(levels, default=Level.OK)
