"""What was found about a configuration. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    WARNING = "warning"  # v0.4 starts, and does not do what the line seems to say
    BLOCKER = "blocker"  # v0.4 does not start, or cannot serve a volume


@dataclass(frozen=True, slots=True, order=True)
class ConfigFinding:
    """Something about a line of a configuration (0: about none), and what to do."""

    line: int
    level: Level
    text: str
    todo: str = ""
