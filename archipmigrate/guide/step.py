"""A step of the upgrade. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ONE_NODE = "one node"  # that has the share mounted, as root; the same for all jobs
EVERY_NODE = "every node"
MASTER = "ganeti master"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done, in the order of the list.

    `key` names the step for programs. `where` is a node, or words for one. `commands` can be
    copied; a placeholder in one is in <>. `note` says what else there is to know.
    """

    key: str
    where: str
    text: str
    commands: Sequence[str] = ()
    note: str = ""
