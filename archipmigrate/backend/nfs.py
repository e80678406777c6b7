"""The `nfs` backend: the two verbs by calls of NFS, without a mount, many of them in flight.

READDIRPLUS (version 4: READDIR) brings a directory's entries with attributes and handles, and one
SETATTR sets mode and group together, guarded by the ctime (version 4: the change attribute) that
was seen. Handles live from scan to apply, and a minute at most; after that entries are found by
their paths again.
"""

from __future__ import annotations

from dataclasses import dataclass

from .. import _nfs, model
from ..frames import pack_groups, whole
from ..model import RETRIES, Applied, Failure, Limits, Link, Scan, Tally, Unit, Verb
from ..policy import GroupPolicy
from .base import WIDE, ScanOptions


@dataclass(slots=True)
class NfsCursor:
    """A wide directory whose reading goes on later: its handle and where it is."""

    path: bytes
    place: bytes

    def close(self) -> None:
        """Give up the place; nothing is open."""


@dataclass(slots=True)
class NfsHeld:
    """The handles of the entries that must change, and when they changed last."""

    packed: bytes

    def close(self) -> None:
        """Forget the handles."""
        self.packed = b""


class NfsBackend:
    """Scan and apply on a share that `share.open_share` mounted."""

    name = "nfs"

    def __init__(self, opened: _nfs.Opened, calls: int) -> None:
        """Work on an open share, with so many *calls* in flight at most: fewer if it is slow."""
        self._opened = opened
        _nfs.set_bound(opened, calls)

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`)."""
        cursor = unit.cursor if isinstance(unit.cursor, NfsCursor) else None
        tally, changes, count, rest, wide, again, failures, links, held = _nfs.scan(
            self._opened,
            b"" if cursor else unit.body,
            cursor.place if cursor else b"",
            cursor.path if cursor else b"",
            unit.counted,
            unit.retries >= RETRIES,
            policy.gid,
            policy.directory_bits,
            policy.file_bits,
            b"".join(bytes((len(name),)) + name for name in sorted(options.excludes)),
            options.skip_links,
            options.cross,
            options.hold,
            limits.seconds,
            limits.entries,
            limits.changes,
            limits.stop,
            WIDE,
        )
        return Scan(
            Tally(**tally),
            changes,
            count,
            Unit(*rest, unit.retries, unit.counted) if rest else None,
            wide=_continuation(*wide) if wide else None,
            again=[Unit(body, n, unit.retries + 1, counted) for body, n, counted in again],
            failures=[Failure(*failure) for failure in failures],
            links=[Link(*link) for link in links],
            held=NfsHeld(held) if held else None,
        )

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        born_before: int = 0,
        held: model.Held | None = None,
    ) -> Applied:
        """Make, settle, check or put back changes (see `base.Backend.apply`).

        NFS does not tell when an inode was born: `born_before` decides nothing.
        """
        del born_before
        packed = held.packed if isinstance(held, NfsHeld) else b""
        return Applied(*_nfs.apply(self._opened, changes, int(verb), deny_limit, packed))

    def calls(self) -> list[int]:
        """Return how often each procedure was called, by its number in version 3."""
        return _nfs.calls(self._opened)

    def bound(self) -> int:
        """Return how many calls may be in flight now."""
        return _nfs.bound(self._opened)

    def close(self) -> None:
        """Let go of the share."""
        del self._opened


def _continuation(path: bytes, inode: int, place: bytes) -> Unit:
    return Unit(pack_groups([whole(path, inode)]), cursor=NfsCursor(path, place))
