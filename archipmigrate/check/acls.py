"""ACLs and owners, of the directories at the top and of a few below: a sample, not a walk.

v0.4 gets at what its user owns, or what its group may enter and write. An ACL's mask takes from
what the group bits show, and a default ACL is what new objects get instead of the umask's bits.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from ..ui.text import count, quoted
from .finding import Finding, Topic, ok, warning
from .question import Question, number_of, opened

SAMPLE = 64  # directories below each top one
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# struct posix_acl_xattr_header {le32 version}, then {le16 tag, le16 perm, le32 id}:
# linux/posix_acl_xattr.h
HEADER, ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
GROUP_OBJ, MASK = 0x04, 0x10
ALL = 0o7
NO_XATTRS = (errno.EOPNOTSUPP, errno.ENOSYS)


def acls(question: Question) -> Iterator[Finding]:
    """Look at the ACLs of a sample."""
    looked, masked, defaults = 0, [], []
    for path in _sample(question):
        try:
            names = os.listxattr(path, follow_symlinks=False)
            looked += 1
            if ACCESS in names and not _group_may(os.getxattr(path, ACCESS, follow_symlinks=False)):
                masked.append(path)
            if DEFAULT in names:
                defaults.append(path)
        except OSError as error:
            if error.errno in NO_XATTRS:
                continue
    for found, what, todo in (
        (masked, "an ACL that keeps the group out", "setfacl -R -m g::rwX,m::rwX"),
        (
            defaults,
            "a default ACL, which new files get instead of what umask says",
            "setfacl -R -k",
        ),
    ):
        if found:
            yield warning(
                Topic.ACL,
                f"{count(len(found), 'directory')} of {looked} looked at has {what}: "
                f"{quoted(os.fsencode(found[0]))}",
                f"see getfacl; mend them all with {todo} {os.path.dirname(found[0])}",
                directories=len(found),
            )
    if not masked and not defaults:
        yield ok(Topic.ACL, f"no ACLs on {count(looked, 'directory')} looked at", looked=looked)


def _group_may(packed: bytes) -> bool:
    """Whether an ACL lets the group read, write and enter."""
    bits = {GROUP_OBJ: 0, MASK: ALL}
    for tag, allowed, _ in ENTRY.iter_unpack(packed[HEADER.size :]):
        if tag in bits:
            bits[tag] = allowed
    return bits[GROUP_OBJ] & bits[MASK] == ALL


def owners(question: Question) -> Iterator[Finding]:
    """Compare owners and groups of a sample with those that v0.4 runs as."""
    site = question.site
    uid = number_of(site.user, lambda name: pwd.getpwnam(name).pw_uid)
    gid = number_of(site.group, lambda name: grp.getgrnam(name).gr_gid)
    found: Counter[str] = Counter()
    shut = 0
    for path in _sample(question):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        found[f"{status.st_uid}:{status.st_gid}"] += 1
        by_group = status.st_gid == gid and status.st_mode & stat.S_IRWXG == stat.S_IRWXG
        shut += status.st_uid != uid and not by_group
    shown = ", ".join(f"{owner} ({number})" for owner, number in found.most_common(4))
    if shut:
        yield warning(
            Topic.OWNERS,
            f"{site.user}:{site.group} may not write to {shut} of "
            f"{count(found.total(), 'directory')} looked at; they belong to {shown}",
            site.perms(),
            owners=dict(found),
        )
    elif found:
        looked = count(found.total(), "directory")
        words = f"{site.user}:{site.group} may write to {looked} looked at, which belong to {shown}"
        yield ok(Topic.OWNERS, words, owners=dict(found))


def _sample(question: Question) -> Iterator[str]:
    """Yield the paths of the directories that are looked at."""
    for path in question.site.directories.values():
        with opened(path) as share:
            if share is None:
                continue
            real = os.fsdecode(share.path)
            yield real
            try:
                with os.scandir(real) as entries:
                    below = (e.path for e in entries if e.is_dir(follow_symlinks=False))
                    yield from islice(below, SAMPLE)
            except OSError:
                continue
