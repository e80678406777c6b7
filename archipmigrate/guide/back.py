"""Where the way back begins, and which undos it takes, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..check.site import Site
from ..jobs.registry import is_of
from ..prelink.kind import KIND as PRELINK
from ..relocate.prune_kind import KIND as PRUNED
from ..ui.text import command_line
from .facts import Facts

BEGINS = (
    "until v0.4 is started for the first time the undos put everything back. From then on they "
    "leave volumes that guests have written to as they are, and list them: v0.3 cannot read those, "
    "and what was written to space that was never used before is lost with it"
)
RADOS = (
    "until finalize_upgrade_0.4, or a daemon of v0.4, has converted a volume's map: v0.3 cannot "
    "read it then"
)


@dataclass(frozen=True, slots=True)
class Back:
    """One step of the way back."""

    text: str
    command: str


def way_back(facts: Facts) -> tuple[str, list[Back]]:
    """Return where it begins, and its steps."""
    if facts.site is None:
        return RADOS, []
    return BEGINS, list(_steps(facts, facts.site))


def _steps(facts: Facts, site: Site) -> Iterator[Back]:
    yield Back("on every node: stop v0.4, with no volume mapped", "archipelago stop")
    for run in facts.runs:
        if is_of(run, PRUNED):
            continue  # directories that are missing are made when they are needed
        command = command_line(["archipmigrate", "undo", run.run, *facts.state])
        if is_of(run, PRELINK):
            command = site.relocate("--back", "--v04-stopped")
        yield Back(f"take back {run.job}", command)
    if not facts.runs:
        undo = command_line(["archipmigrate", "undo", *facts.state])
        yield Back("take back each run, the last one first", undo)
    yield Back(
        "on every node: v0.3's packages and its configuration, then start it", "archipelago start"
    )
