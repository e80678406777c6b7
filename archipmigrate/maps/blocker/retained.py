"""What the scan of a unit of maps returns: it carries the locks of the volumes to change."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...model import Scan
from .preimage import VolumePreimage
from .store import Store


@dataclass(slots=True)
class RetainedLocks:
    """The volumes of one scan whose locks are held, in the order of its pre-image.

    `since` is when the scan began, by the clock that measures how long.
    """

    store: Store
    volumes: list[VolumePreimage] = field(default_factory=list)
    since: float = 0.0

    def take_over(self, count: int = 1) -> None:
        """Leave the locks of the first volumes to the caller: `close` will not release them."""
        del self.volumes[:count]

    def close(self) -> None:
        """Release the locks that apply did not take over.

        A lock that cannot be released is a dead run's from now on: the next run sweeps it.
        """
        for volume in self.volumes:
            try:
                self.store.release_locks(volume.lock_names)
            except OSError:
                continue
        self.volumes.clear()


@dataclass(frozen=True, slots=True)
class MapsScan(Scan):
    """What the scan of one unit found: files for the survey, or volumes to upgrade or put back."""

    retained: RetainedLocks | None = None
