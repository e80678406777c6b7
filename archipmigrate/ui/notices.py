"""What the kinds of notices mean; among them why entries are skipped, and what includes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..model import Examples, Notice
from .text import examples_line, path_object

NOTICES = {
    "acl": "has an ACL: group bits are its mask, so the group may still have no access (getfacl)",
    "raced": "was changed by somebody else just before we changed it: check its mode",
    "capability": "had file capabilities: a change of owner or group removes them for good",
}


class Skipped(NamedTuple):
    """Why entries are skipped, and the option that decides it."""

    why: str
    option: str


SKIPPED = {
    "excluded": Skipped("is excluded by name (--exclude)", "--exclude"),
    "filesystem": Skipped(
        "is on another filesystem or mount (--cross-filesystems includes it)",
        "--cross-filesystems",
    ),
    "linked": Skipped("has several names (--hard-links change includes it)", "--hard-links change"),
    "snapshot": Skipped(
        "is a snapshot directory (--no-default-excludes includes it)", "--no-default-excludes"
    ),
}


def notice_line(kind: str, found: Examples) -> str:
    """Return the line about all notices of a kind."""
    if kind in SKIPPED:
        return examples_line("skipped", SKIPPED[kind].why, found)
    return examples_line("notice", NOTICES.get(kind, kind), found)


def notice_object(notice: Notice) -> dict[str, object]:
    """Return a notice for JSON."""
    return {**_kind(notice.kind), **path_object(notice.path)}


def notice_counts(notices: Mapping[str, Examples]) -> list[dict[str, object]]:
    """Return for JSON how many notices there are of each kind, and examples."""
    return [
        {**_kind(kind), "count": found.count, "examples": [path_object(p) for p in found.paths]}
        for kind, found in notices.items()
    ]


def _kind(kind: str) -> dict[str, object]:
    if kind in SKIPPED:
        return {"type": "skipped", "kind": kind, "option": SKIPPED[kind].option}
    return {"type": "notice", "kind": kind}
