"""A toy job of two roots: every file of both directories is written in upper case."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipmigrate.engine.job import Job, Lanes, UnitResult
from archipmigrate.jobs.ended import Ended
from archipmigrate.jobs.kind import JobKind, Opening, Purpose, Words, Work
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.model import Limits, Scan, StopFlag, Tally, Unit
from archipmigrate.share import identity_of
from archipmigrate.ui.report import Report

# What a test has happen before a file is written, or a batch settled, if anything.
before_writing: list[Callable[[], object]] = []
before_settling: list[Callable[[StopFlag], object]] = []


@dataclass(frozen=True, slots=True)
class ToySettings:
    """The second root, and what it is."""

    blocks: str
    identity: str

    @classmethod
    def of(cls, blocks: Path) -> ToySettings:
        fd = os.open(blocks, os.O_PATH)
        try:
            return cls(str(blocks), identity_of(fd))
        finally:
            os.close(fd)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class ToyJob(Job[Scan]):
    """A unit is a file."""

    roots: tuple[Path, ...]
    dry_run: bool = False

    def first_units(self) -> Iterable[Unit]:
        for root in self.roots:
            for path in sorted(root.iterdir()):
                yield Unit(os.fsencode(path))

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        path = Path(os.fsdecode(unit.body))
        text = path.read_text()
        if text.isupper():
            return Scan(Tally(1, files=1, compliant=1))
        preimage = json.dumps([str(path), text]).encode()
        return Scan(Tally(1, files=1), preimage, 1)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        return self._write(scan.preimage)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        if before_settling:
            before_settling.pop()(stop)
        path, text = json.loads(preimage)
        done = Path(path).read_text() != text
        return UnitResult(b"", Tally(changed=done, compliant=-done))

    def _write(self, preimage: bytes) -> UnitResult:
        path, text = json.loads(preimage)
        if before_writing:
            before_writing.pop()()
        Path(path).write_text(text.upper())
        return UnitResult(b"", Tally(changed=1), attempted=1, succeeded=1)


@dataclass
class ToyUndo(Job[Scan]):
    """A unit is a batch of the run."""

    target: Journal
    knows_total: bool = True

    def first_units(self) -> Iterable[Unit]:
        return [Unit(self.target.preimage(number)) for number in list(self.target.batches())]

    def scan(self, unit: Unit, limits: Limits) -> Scan:
        return Scan(Tally(1, files=1), unit.body, 1)

    def apply(self, scan: Scan, *, retries: int, deny_limit: int, stop: StopFlag) -> UnitResult:
        path, text = json.loads(scan.preimage)
        Path(path).write_text(text)
        return UnitResult(b"", Tally(changed=1), attempted=1, succeeded=1)

    def settle(self, preimage: bytes, stop: StopFlag) -> UnitResult:
        return UnitResult(b"", Tally())


@dataclass
class ToyWork(Work):
    journal: Journal

    @contextlib.contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        yield ToyWork(ToyUndo(self.journal), self.lanes, self.backend, self.journal)


class ToyKind(JobKind[ToySettings]):
    """See the module."""

    name = "upper-case"
    noun = "file"
    leaves_behind = "files half written"

    def settings(self, stored: Mapping[str, Any]) -> ToySettings:
        return ToySettings(**stored)

    def more_roots(self, settings: ToySettings) -> Mapping[str, str]:
        return {settings.identity: settings.blocks}

    @contextlib.contextmanager
    def open(self, opening: Opening[ToySettings]) -> Iterator[Work]:
        roots = (Path(os.fsdecode(opening.share.path)), Path(opening.settings.blocks))
        job = ToyJob(roots, opening.purpose is Purpose.DRY_RUN)
        yield ToyWork(job, Lanes(1, 0.1), "toy", opening.journal)

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        report.summary([f"{self.name}: {ended.status}"], ended.summary_object(), ended.reason)


KIND = ToyKind()
