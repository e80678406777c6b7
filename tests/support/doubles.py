"""Test doubles for the engine: a backend with a hook before apply, and an observer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from archipmigrate.backend.base import Backend, ScanOptions
from archipmigrate.engine.job import Counters
from archipmigrate.model import (
    NEVER,
    NOTHING_KNOWN,
    Applied,
    Failure,
    Known,
    Limits,
    Notice,
    Retained,
    Scan,
    StopFlag,
    Unit,
    Verb,
)
from archipmigrate.policy import GroupPolicy


@dataclass
class Meddler:
    """A backend that calls *meddle* with 1, 2, ... just before each apply."""

    real: Backend
    meddle: Callable[[int], object]
    times: int = 0
    name: str = "meddled with"
    nfs_version: int = 0
    remark: str = ""

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        return self.real.scan(unit, policy, options, limits)

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
        self.times += 1
        self.meddle(self.times)
        return self.real.apply(
            changes,
            verb,
            deny_limit=deny_limit,
            known=known,
            retained=retained,
            stop=stop,
        )

    def close(self) -> None:
        pass


@dataclass
class Watch:
    """An observer that keeps the failures."""

    interval: float = 1.0
    failures: list[Failure] = field(default_factory=list)

    def tick(self, counters: Counters) -> None:
        pass

    def show(self, counters: Counters) -> None:
        pass

    def changed(self, preimage: bytes, outcome: bytes | None) -> None:
        pass

    def noticed(self, notices: Sequence[Notice]) -> None:
        pass

    def failed(self, failures: Sequence[Failure]) -> None:
        self.failures += failures
