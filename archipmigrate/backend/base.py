"""The two verbs by which entries are touched: `scan` looks at them, `apply` changes what was found.

A backend is opened on the root of one share and knows nothing of journals, lanes or users. Both
verbs block; the engine calls them in worker threads, several at once. Neither raises for a single
entry: what goes wrong with one is a `Failure`, or an `Outcome`, in the result.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypedDict

from ..model import (
    NEVER,
    NOTHING_KNOWN,
    Applied,
    Known,
    Limits,
    Retained,
    Scan,
    StopFlag,
    Unit,
    Verb,
)
from ..policy import GroupPolicy, packed_modes

# A directory with more names than this is wide: its names go to all lanes, in chunks of this many.
WIDE = 4096
# Chunks of a wide directory that one call reads: enough to occupy a lane for about 100 ms, few
# enough to keep the names in flight below 2 MB a lane.
CHUNKS = 4
# The errno of a failure to enter `ScanOptions.never`. No filesystem gives it.
MET_NEVER = errno.EDOTDOT
# Why an entry is skipped: kinds of notices. `ui.notices` has the options that include such entries.
EXCLUDED = "excluded"  # a directory of an excluded name
FILESYSTEM = "filesystem"  # a directory on another filesystem or mount, or a file that is a mount
LINKED = "linked"  # a file with several links
SNAPSHOT = "snapshot"  # a directory of snapshots
# The note of an EROFS where only a part of the share is read-only: a mount, or a snapshot.
READ_ONLY_PART = "read-only at this place"


def read_ahead(wide: int, chunks: int, *, remote: bool) -> tuple[int, int]:
    """Return how many names make a directory wide, and how many chunks of it one call reads.

    On a *remote* share that is a quarter of *wide* and half of *chunks*, an eighth of the names: an
    NFS client learns attributes with the names and forgets them after 3 s.
    """
    return (max(wide // 4, 1), max(chunks // 2, 1)) if remote else (wide, chunks)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a scan leaves out, and what it looks at besides the attrs.

    excludes: names of directories that are not entered.
    snapshots: names of directories that are not entered where they hold snapshots: in the root of
        the share or of a mount, on another device or mount than the directory they are in, or
        read-only. Over NFS: in the root of the share, or with another fsid.
    skip_links: leave files with several links alone.
    cross: enter other filesystems, and change files that are mounts. A border is another mount; the
        device where mounts are not known, as before Linux 5.8; over NFS the fsid, of directories.
    xattrs: look for ACLs and file capabilities on what must change (over NFS not worth a call).
    retain: leave the directories of entries that must change open for apply.
    remote: read wide directories so that an NFS client asks for attributes with the names.
    never: device and inode of a directory that is not entered: to meet it is a failure, MET_NEVER.
        A server that is called directly shows other devices, and its directories are not compared.
    """

    excludes: frozenset[bytes] = frozenset()
    snapshots: frozenset[bytes] = frozenset()
    skip_links: bool = False
    cross: bool = False
    xattrs: bool = True
    retain: bool = False
    remote: bool = False
    never: tuple[int, int] = (0, 0)


class ScanArguments(TypedDict):
    """The arguments that a scan has in every C extension; what they mean is in `_native.pyi`."""

    uid: int
    gid: int
    modes: bytes
    excludes: bytes
    snapshots: bytes
    skip_links: bool
    cross: bool
    seconds: float
    entries: int
    changes: int
    stop: StopFlag


def scan_arguments(policy: GroupPolicy, options: ScanOptions, limits: Limits) -> ScanArguments:
    """Return what a C extension must know of the policy, the options and the limits of a scan."""
    return {
        "uid": policy.uid,
        "gid": policy.gid,
        "modes": packed_modes(policy.modes),
        "excludes": _packed(options.excludes),
        "snapshots": _packed(options.snapshots),
        "skip_links": options.skip_links,
        "cross": options.cross,
        "seconds": limits.seconds,
        "entries": limits.entries,
        "changes": limits.changes,
        "stop": limits.stop,
    }


def _packed(names: Iterable[bytes]) -> bytes:
    return b"".join(bytes((len(name),)) + name for name in sorted(names))


class Backend(Protocol):
    """What every backend offers. `name` is its name for `--backend`.

    `nfs_version` is the version of NFS that it speaks itself (0: it goes through a mount), and
    `remark` is what users should know about that. Both may change while it works.
    """

    name: str
    nfs_version: int
    remark: str

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit, depth first, until done or a limit is reached.

        That the root itself is no longer there is a failure, ENOENT, of its empty path. Whatever is
        skipped has a notice: the tally's `skipped` is the number of these.

        The changes found are pre-images (see `packed.changes`); nothing is changed. What the limits
        leave over comes back in `rest`, `chunks` and `wide`.
        """

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        known: Known = NOTHING_KNOWN,
        retained: Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        """Make, settle or put back packed changes, each only if its entry is as it says.

        Every entry is pinned (O_PATH) and compared with its pre-image before it is changed, through
        the pinned descriptor. Over NFS a handle takes the descriptor's place.

        Every change is read back. One that reads back differently FAILED, with operation "read
        back"; what came of it is in `Applied.came`.

        Three things end the call, and leave the rest UNTRIED: a read-only share; *deny_limit* (0:
        no limit) refusals before the first success; a change that reads back differently in what
        no change of this backend has shown to be kept yet (the owner, the group, set-gid of a
        directory, other bits of the mode).

        *known* is what the outcome of these changes tells, for BACK: an entry of another identity
        is DIFFERENT; one that is as a change which read back differently left it goes back.
        *retained* is what the scan of these changes left open, so that it need not be opened again;
        the caller closes it afterwards.

        Once *stop* is set, changes that are not begun are UNTRIED. Raises Unsettled if the server
        has not answered a change in flight within 2 s of *stop*.
        """

    def close(self) -> None:
        """Close the root's descriptor, or what else is open."""
