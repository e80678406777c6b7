"""How a session ended: the values from which summaries are worded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..journal.store import Journal, RunHeader
from ..model import Examples, Tally
from ..ui.summary import Facts


@dataclass(frozen=True, slots=True)
class Ended:
    """How a session ended.

    `status` is done, failures, drift, stopped or interrupted, `reason` why it stopped, `signal`
    what interrupted it (0: nothing). `tally` and `notices`, by kind, are of all sessions of the
    run, `seconds` of this one. `path` is where the share was reached, `way` how, where there are
    several ways, and `nfs_version` the version that was used directly (0: none). `journal` is open
    only while the session's `tell` is called.
    """

    header: RunHeader
    status: str
    reason: str
    signal: int
    tally: Tally
    notices: Mapping[str, Examples]
    seconds: float
    path: bytes
    way: str
    nfs_version: int
    dry_run: bool
    journal: Journal = field(repr=False)

    def facts(self, **more: Any) -> Facts:
        """Return what a summary in words is made of; *more* are fields of `Facts`."""
        return Facts(
            self.header.job,
            self.header.run,
            os.fsdecode(self.path),
            self.status,
            self.reason,
            self.tally,
            self.seconds,
            way=self.way,
            **more,
        )

    def summary_object(self, tally: Tally | None = None, **more: object) -> dict[str, object]:
        """Return the last JSON line, with *tally* in place of the session's if it is given."""
        return {
            "type": "summary",
            "job": self.header.job,
            "run": self.header.run,
            "share": os.fsdecode(self.path),
            "backend": self.header.backend,
            **({"nfs_version": self.nfs_version} if self.nfs_version else {}),
            "status": self.status,
            **(tally or self.tally).as_dict(),
            "seconds": round(self.seconds, 3),
            "resumed": self.header.sessions > 1,
            **more,
        }
