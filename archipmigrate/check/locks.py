"""The locks of a site, counted by who left them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from ..layout.names import Role, parse_name
from ..maps.blocker.locks import holder_string
from ..tree.files import open_file
from ..ui.text import count
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, opened

LONGEST = 512
OURS = holder_string("", "")[:-1]
OWN, DAEMON, PART = "ours", "daemon", "part"


def locks(question: Question) -> Iterator[Finding]:
    """List the lock directory. Locks among the maps are for the walk."""
    site = question.site
    if not site.locks:
        yield ok(Topic.LOCKS, "no lock directory: locks lie among the maps")
        return
    kinds: Counter[str] = Counter()
    with opened(site.locks) as share:
        if share is None:
            return
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=share.fd)
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    kinds.update(_kind(fd, os.fsencode(entry.name)))
        except OSError as error:
            yield blocker(Topic.LOCKS, f"{site.locks}: {error.strerror}", "see to that")
            return
        finally:
            os.close(fd)
    data = {kind: kinds[kind] for kind in (DAEMON, OWN, PART)}
    if kinds[DAEMON]:
        yield warning(
            Topic.LOCKS,
            f"{count(kinds[DAEMON], 'volume')} locked by daemons, or by what has died",
            "close these volumes (vlmc close), or stop Archipelago, before mapfiles",
            **data,
        )
    if kinds[OWN]:
        yield warning(
            Topic.LOCKS,
            f"{count(kinds[OWN], 'lock')} of runs of ours",
            "finish these runs: archipmigrate status",
            **data,
        )
    if not kinds[DAEMON] and not kinds[OWN]:
        yield ok(Topic.LOCKS, f"nothing is locked in {site.locks}", **data)


def _kind(fd: int, name: bytes) -> list[str]:
    role = parse_name(name).role
    if role is Role.LOCK_PART:
        return [PART]
    if role is not Role.LOCK:
        return []
    try:
        file = open_file(fd, name)
    except OSError:
        return [DAEMON]
    try:
        return [OWN if os.pread(file, LONGEST, 0).startswith(OURS) else DAEMON]
    finally:
        os.close(file)
