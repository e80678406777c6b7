"""The batches of a run that is put back, as its journal has them, and which changes to put back.

A journal is used by one thread at a time; any number may use this.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..errors import JournalError
from ..jobs.outcome import unpack_outcome
from ..journal.store import Journal
from ..model import Applied, Known, Outcome
from ..packed.changes import Change
from . import set_id
from .changed import changed_until
from .chosen import Chooser, Chosen, both, choice
from .retried import Part, RetriedEntries


def choosing(*outcomes: int) -> bytes:
    """Return the table by which `bytes.translate` turns outcomes into a choice of some."""
    return bytes(outcome in outcomes for outcome in range(256))


# A run may have touched these: a change that failed may be half done.
TOUCHED = choosing(Outcome.CHANGED, Outcome.FAILED)
FAILED = choosing(Outcome.FAILED)


@dataclass(slots=True)
class LoadedPart:
    """A part of a unit: the changes and the outcome of its batch; `chosen` are to be put back."""

    part: Part
    changes: bytes
    before: Applied
    chosen: bytes
    chooser: Chooser
    _packed: Chosen | None = None
    _records: list[Change] | None = None

    def pack(self) -> Chosen:
        """Return the changes for a backend; those that are not to be put back are dropped."""
        if self._packed is None:
            self._packed = self.chooser.drop_others(self.changes, self.chosen)
        return self._packed

    def records(self) -> list[Change]:
        """Return the changes to put back."""
        if self._records is None:
            self._records = self.records_of(self.chosen)
        return self._records

    def records_of(self, choice: bytes) -> list[Change]:
        """Return those of the changes to put back that another choice has, too."""
        chosen = both(self.chosen, choice)
        return self.chooser.read(self.changes, chosen) if 1 in chosen else []

    def every(self) -> list[Change]:
        """Return all changes of the batch."""
        return self.chooser.read(self.changes, bytes([1]) * len(self.chosen))

    def leave(self, ended: Callable[[Change], bool]) -> None:
        """Do not put back changes whose entries have *ended*."""
        left = [change.index for change in self.records() if ended(change)]
        self.chosen = _without(self.chosen, left)
        self._packed = self._records = None


class RunBatches:
    """Reads the batches of one run; all of them are settled."""

    def __init__(self, journal: Journal, chooser: Chooser) -> None:
        """Read *journal*, decode it by *chooser*."""
        self._journal = journal
        self._chooser = chooser
        self._lock = threading.Lock()
        self._retried: RetriedEntries | None = None
        self._changed_until: int | None = None

    def first_bodies(self) -> Iterator[bytes]:
        """Yield the bodies of units: retried entries, then all batches, the oldest first."""
        yield from self._retried_entries().bodies()
        for number in self._journal.batches():
            yield Part(number).pack()

    def load(self, part: Part) -> LoadedPart:
        """Load the batch of a part; choose what is to be put back. Raises JournalError."""
        retried = self._retried_entries()
        with self._lock, self._decoding(part.batch):
            changes = self._journal.preimage(part.batch)
            before = unpack_outcome(self._journal.outcome(part.batch))
        with self._decoding(part.batch):
            chosen = before.outcomes.translate(TOUCHED)
            if part.indices is not None:
                chosen = both(chosen, choice(len(chosen), part.indices))
            elif retried:
                suspects = self._chooser.with_inodes(changes, chosen, retried.inodes)
                again = self._chooser.read(changes, suspects) if 1 in suspects else ()
                chosen = _without(chosen, [c.index for c in again if c in retried])
            loaded = LoadedPart(part, changes, before, chosen, self._chooser)
            loaded.pack()  # and so check them
            return loaded

    def known_until(self, loaded: LoadedPart) -> Known:
        """Return what is known of a batch's entries, and until when the run made changes."""
        with self._lock:
            if self._changed_until is None:
                self._changed_until = changed_until(self._journal)
        return replace(loaded.before.known, changed_until=self._changed_until)

    def known_born(self, loaded: LoadedPart) -> Known:
        """Return what is known of a batch's entries, with a time before which all were born.

        If settling found none of its changes, that is the first change of a later batch: its number
        was given after the scan of this one.
        """
        known = loaded.before.known
        if known.born_before:
            return known
        with self._lock:
            for number in self._journal.batches():
                if number < loaded.part.batch:
                    continue
                later = unpack_outcome(self._journal.outcome(number)).known.born_before
                if later:
                    return replace(known, born_before=later)
        return known

    # -- files that lost set-id bits

    def note_put_back(self, noted: Mapping[tuple[int, int], int]) -> None:
        """Note the ctime of files that were put back while nobody could write to them."""
        with self._lock:
            self._journal.commit([set_id.note_put_back(noted)])

    def noted(self, batch: int) -> dict[int, int]:
        """Return these times, by index, of a batch."""
        with self._lock:
            return set_id.read_put_back(self._journal, batch)

    # -- entries that were retried

    def _retried_entries(self) -> RetriedEntries:
        """Return the retried entries; the first call reads the whole journal."""
        with self._lock:
            if self._retried is None:
                self._retried = RetriedEntries(
                    self._journal.batches(), self._failed, self._touched_of
                )
            return self._retried

    def _failed(self, number: int) -> Iterable[Change]:
        """Return the changes of a batch that failed."""
        with self._decoding(number):
            chosen = unpack_outcome(self._journal.outcome(number)).outcomes.translate(FAILED)
            return self._chooser.read(self._journal.preimage(number), chosen) if 1 in chosen else ()

    def _touched_of(self, number: int, inodes: bytes) -> Iterable[Change]:
        """Return the changes of a batch that may have been made, of entries of some inodes."""
        with self._decoding(number):
            touched = unpack_outcome(self._journal.outcome(number)).outcomes.translate(TOUCHED)
            if 1 not in touched:
                return ()
            changes = self._journal.preimage(number)
            chosen = self._chooser.with_inodes(changes, touched, inodes)
            return self._chooser.read(changes, chosen) if 1 in chosen else ()

    @contextmanager
    def _decoding(self, number: int) -> Iterator[None]:
        """Turn errors of decoding a batch into JournalError."""
        try:
            yield
        except (LookupError, ValueError, struct.error) as error:
            path = self._journal.path
            raise JournalError(f"{path}: batch {number} is damaged ({error})") from None


def _without(chosen: bytes, indices: Iterable[int]) -> bytes:
    """Return a choice without some changes."""
    fewer = bytearray(chosen)
    for index in indices:
        fewer[index] = 0
    return bytes(fewer)
