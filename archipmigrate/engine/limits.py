"""How large the next unit may be. Pure: samples in, sizes out."""

from __future__ import annotations

# A unit ends with a sync of the journal. Where that is on the share's own disk, each sync makes the
# filesystem commit what was changed so far: units of 0.3 s take a fifth less CPU than of 0.1 s, and
# longer ones gain no more. It is short enough for a prompt stop; and on NFS the attributes that
# scan fetched must still be cached when apply compares them (acregmin is 3 s).
UNIT_SECONDS = 0.3
FIRST_CHANGES = 256
FEWEST_CHANGES = 16
MOST_CHANGES = 20_000  # about 2 MB of pre-images a lane
MOST_ENTRIES = 1_000_000  # the seconds end a look long before
GROWTH = 4.0


class UnitSize:
    """Turns what units cost into how many changes the next may have; a look ends by its seconds."""

    def __init__(self, seconds: float) -> None:
        """Aim at units of *seconds* of work, waiting for the journal not counted."""
        self.changes = FIRST_CHANGES
        self.seconds = seconds

    def observe(self, changes: int, seconds: float) -> None:
        """Take in what a unit with so many *changes* cost, looking and acting."""
        fit = self.seconds / max(seconds, 1e-6)
        if fit < 1:
            wanted = changes * fit
        elif changes >= self.changes:
            wanted = self.changes * min(fit, GROWTH)
        else:
            return  # it ended for another reason, and says nothing of larger ones
        self.changes = int(max(FEWEST_CHANGES, min(wanted, MOST_CHANGES)))
