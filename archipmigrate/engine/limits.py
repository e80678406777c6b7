"""How large the next unit may be. Pure: samples in, sizes out."""

from __future__ import annotations

# A unit ends with a sync of the journal. If that is on the share's own disk, each sync makes the
# filesystem commit the changes so far: units of 0.3 s take a fifth less CPU than those of 0.1 s;
# longer ones gain no more. 0.3 s also lets a session stop promptly, and is well below the 3 s
# (acregmin) for which an NFS client caches the attributes that scan fetched and apply compares.
UNIT_SECONDS = 0.3
FIRST_CHANGES = 256
FEWEST_CHANGES = 16
MOST_CHANGES = 20_000  # about 2 MB of pre-images a lane
MOST_ENTRIES = 1_000_000  # a scan runs out of seconds long before
GROWTH = 4.0


class UnitSize:
    """Finds how many changes the next unit may have. Its entries are limited by seconds alone."""

    def __init__(self, seconds: float) -> None:
        """Aim at units of *seconds* of work; waiting for the journal is not counted."""
        self.changes = FIRST_CHANGES
        self.seconds = seconds

    def observe(self, changes: int, seconds: float) -> None:
        """Note the seconds that a unit took to scan and to apply its *changes*."""
        fit = self.seconds / max(seconds, 1e-6)
        if fit < 1:
            wanted = changes * fit
        elif changes >= self.changes:
            wanted = self.changes * min(fit, GROWTH)
        else:
            return  # it ended for another reason: larger ones may fit, or not
        self.changes = int(max(FEWEST_CHANGES, min(wanted, MOST_CHANGES)))
