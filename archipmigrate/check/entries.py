"""What perms would change, by the walk of verify over the whole share."""

from __future__ import annotations

import grp
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..jobs.ended import Ended
from ..jobs.registry import PERMS
from ..journal.location import BYTES_PER_ENTRY
from ..model import Examples, Tally
from ..perms.kind import VERIFY
from ..perms.pairs import SKIPPED, Pairs
from ..perms.settings import PermsSettings
from ..ui.text import count, quoted
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, number_of, opened
from .room import for_undo


@dataclass(slots=True)
class _Found:
    """What the walks counted."""

    tally: Tally = field(default_factory=Tally)
    paired: int = 0  # names of blocks that have two by relocate --prelink, both in the share
    notices: dict[str, Examples] = field(default_factory=dict)

    def take(self, ended: Ended) -> None:
        self.tally.add(ended.tally)
        for kind, examples in ended.notices.items():
            self.notices.setdefault(kind, Examples()).merge(examples)


def entries(question: Question) -> Iterator[Finding]:
    """Walk the share, and count entries that are not as perms leaves them."""
    site = question.site
    gid = number_of(site.group, lambda name: grp.getgrnam(name).gr_gid)
    tops = [top for top in site.tops if os.path.isdir(top)]
    if not question.walk or gid is None or not tops:
        return
    found = _Found()
    failed: list[Finding] = []
    for top in tops:
        paired = _paired(question, top)
        found.paired += paired
        # With pairs in the share only a walk that skips links tells these from other links.
        settings = PermsSettings(gid, (), skip_links=paired > 0, cross=False)
        failed += question.survey(VERIFY, settings, top, found.take, Topic.DRIFT)
    yield from failed
    if found.tally.entries or not failed:
        yield from _judged(question, found)


def _paired(question: Question, top: str) -> int:
    with opened(top) as share:
        pairs = share and Pairs.of(question.options.state_path, share)
    return 2 * pairs.blocks if pairs else 0


def _judged(question: Question, found: _Found) -> Iterator[Finding]:
    site, tally = question.site, found.tally
    total = count(tally.entries, "entry")
    if tally.changed:
        yield blocker(
            Topic.DRIFT,
            f"{tally.changed:,} of {total} are not open to group {site.group}",
            f"after relocate: {site.perms()}",
            entries=tally.entries,
            drift=tally.changed,
        )
        needed = tally.changed * BYTES_PER_ENTRY
        yield for_undo(PERMS, question.options.state_path, needed)
    else:
        words = f"all of {total} are open to group {site.group}"
        yield ok(Topic.DRIFT, words, entries=tally.entries, drift=0)
    skipped = found.notices.get(SKIPPED, Examples())
    linked = skipped.count if found.paired else tally.hard_linked
    if linked:
        yield warning(
            Topic.LINKS,
            f"{count(linked, 'file')} with several names, perhaps outside the share",
            "if others can write to the share, add --hard-links skip to perms, and look at them",
            hard_linked=linked,
        )
    else:
        own = f" but {found.paired:,} of relocate --prelink's own" if found.paired else ""
        yield ok(Topic.LINKS, f"no file has more than one name{own}", hard_linked=0)
    if acl := found.notices.get("acl"):
        yield warning(
            Topic.ACL,
            f"{count(acl.count, 'entry')} with an ACL, whose mask the group bits are: "
            f"{', '.join(map(quoted, acl.paths))}",
            "see getfacl; the group needs an entry of its own: setfacl -m g::rwX",
            count=acl.count,
        )
    for kind, left in found.notices.items():
        if kind in ("filesystem", "snapshot"):
            yield warning(
                Topic.FILESYSTEM,
                f"{count(left.count, 'directory')} left out ({kind}): "
                f"{', '.join(map(quoted, left.paths))}",
                "see whether they belong to the share",
                count=left.count,
            )
