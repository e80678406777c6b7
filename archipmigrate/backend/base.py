"""The two verbs by which entries are touched: `scan` looks, `apply` changes exactly what was found.

A backend is opened on the root of one share and knows nothing of journals, lanes or users. Both
verbs block and are called in worker threads, several at once. Neither raises for a single entry:
what goes wrong there is a `Failure`, or an `Outcome`, in the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..model import NEVER, Applied, Limits, Retained, Scan, StopFlag, Unit, Verb
from ..policy import GroupPolicy

# A directory with more names than this is wide: its names go to all lanes in chunks of this many.
WIDE = 4096
# How many chunks of a wide directory are read in one go: enough for a lane to be busy for about
# 100 ms, few enough to keep the names in flight below 2 MB a lane.
CHUNKS = 4


def read_ahead(wide: int, chunks: int, *, remote: bool) -> tuple[int, int]:
    """Return what is wide, and how many chunks are read in one go, for a local or a remote share.

    An NFS client learns attributes with the names and forgets them after 3 s: an eighth is read.
    """
    return (max(wide // 4, 1), max(chunks // 2, 1)) if remote else (wide, chunks)


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What a walk leaves out, and what it looks at besides the attrs.

    `excludes` are names of directories not to enter; `skip_links` leaves files with several links
    alone; `cross` enters other filesystems; `xattrs` looks for ACLs and file capabilities on what
    must change (not worth a call over NFS); `hold` keeps directories that must change open for
    apply; `remote` reads wide directories so that an NFS client asks for attributes with the names.
    """

    excludes: frozenset[bytes] = frozenset()
    skip_links: bool = False
    cross: bool = False
    xattrs: bool = True
    hold: bool = False
    remote: bool = False


class Backend(Protocol):
    """What every backend offers. `name` is what `--backend` calls it.

    `nfs_version` is the version of NFS by which it calls the server itself (0: it does not), and
    `remark` what users should know of that. Both may change while it works.
    """

    name: str
    nfs_version: int
    remark: str

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit, depth first, until done or a limit is reached.

        The changes found are pre-images (see `frames`); nothing is changed. What the limits leave
        over comes back in `rest`, `chunks` and `wide`.
        """

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        born_before: int = 0,
        retained: Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        """Make, settle, check or put back packed changes, each only if its entry is what it says.

        Every entry is pinned (O_PATH) and compared with its pre-image before it is changed through
        the pinned descriptor. A read-only filesystem ends the call (the rest is UNTRIED), and so do
        `deny_limit` (0: no limit) refusals before the first success. So does a first change that
        reads back differently (operation "read back": an id mapping, or all_squash). An inode born
        at or after `born_before` (ns, 0: any) is another entry with a reused number: DIFFERENT.
        `retained` is what the scan that found these changes kept open, so that it is not opened
        again. Once `stop` is set, what was not begun is UNTRIED. Raises Unsettled if the server has
        not answered a change in flight within 2 s of `stop`.
        """

    def close(self) -> None:
        """Give up the root's descriptor."""
