"""The topics of a check, in the order of the page: what is quickly found first, walks last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .accounts import group, hosts, user
from .acls import acls, owners
from .daemons import daemons
from .entries import entries
from .extension import extension
from .filesystem import filesystem
from .finding import Finding, Level, Topic
from .locks import locks
from .maps import maps
from .mounted import mounted
from .nfs import nfs
from .objects import objects
from .question import Question
from .runs import runs
from .squash import squash

TOPICS: Sequence[Callable[[Question], Iterator[Finding]]] = (
    mounted,
    filesystem,
    nfs,
    squash,
    user,
    group,
    hosts,
    daemons,
    runs,
    extension,
    locks,
    acls,
    owners,
    objects,
    maps,
    entries,
)


def findings(question: Question) -> Iterator[Finding]:
    """Yield what a check of a site finds, as it is found.

    Changes nothing but for the probe. Without mounted directories nothing else is looked at: it
    would be said of the wrong ones. Raises Interrupted, and Error if the check cannot go on.
    """
    for topic in TOPICS:
        stop = False
        for finding in topic(question):
            yield finding
            stop = stop or (finding.topic is Topic.MOUNT and finding.level is Level.BLOCKER)
        if stop:
            return
