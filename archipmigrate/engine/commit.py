"""Group commit: the writes of all lanes go into one transaction, with one sync for all.

    lane 1    scan  durable(A) . . . . . . .  apply
    lane 2          scan  durable(B) . . . . . . . . . . . .  apply
    lane 3                  soon(C)  goes on at once
    writer               [ commit A         ][ commit B, C ]

Writes are committed in the order of the calls. So the outcome of a unit is never on disk without
its pre-image, nor are its child units while the unit itself is still in the frontier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from ..errors import JournalError, NoThreads
from ..journal.location import SPARE_BYTES, spare_bytes
from ..journal.store import Journal, Write
from .threads import in_thread

T = TypeVar("T")
# Seconds after which writes are committed that nobody waits for.
LATEST = 1.0


class Committer:
    """The one writer of a journal. `durable` and `call` return only while `run` is running."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._limiter = trio.CapacityLimiter(1)
        self._waiting: list[Write] = []
        self._done = trio.Event()
        self._wake = trio.Event()

    def soon(self, write: Write) -> None:
        """Add a write to the next commit without waiting for it."""
        self._waiting.append(write)

    async def durable(self, write: Write) -> None:
        """Return when *write* is on disk. If cancelled, it may be committed or not."""
        self._waiting.append(write)
        done = self._done
        self._wake.set()
        await done.wait()

    async def call(self, ask: Callable[[Journal], T]) -> T:
        """Run *ask* in the transaction after all earlier writes; return what it returns."""
        answer: list[T] = []
        await self.durable(lambda journal: answer.append(ask(journal)))
        return answer[0]

    async def run(self) -> None:
        """Commit until cancelled. Raises JournalError; then nothing is committed any more.

        Raises NoThreads.
        """
        while True:
            with trio.move_on_after(LATEST):
                await self._wake.wait()
            await self.flush()

    async def flush(self) -> None:
        """Commit the writes that wait. Raises JournalError; after NoThreads they still wait."""
        self._wake = trio.Event()
        if not self._waiting:
            return
        writes, self._waiting = self._waiting, []
        done, self._done = self._done, trio.Event()
        try:
            await in_thread(self._commit, writes, limiter=self._limiter)
        except (trio.Cancelled, NoThreads):  # nothing was begun: `flush_now` has to do it
            self._waiting = [*writes, *self._waiting]
            raise
        done.set()

    def flush_now(self, last: Write) -> None:
        """Commit the writes that wait, then *last*, in this thread. Only after `run` has ended.

        Raises JournalError.
        """
        writes, self._waiting = [*self._waiting, last], []
        self._commit(writes)

    def _commit(self, writes: list[Write]) -> None:
        path = self._journal.path
        if path is not None and spare_bytes(path.parent) < SPARE_BYTES:
            raise JournalError(
                f"{path.parent} has less than {SPARE_BYTES >> 20} MiB left for the journal; "
                "nothing was changed that it does not hold: make room there and resume"
            )
        self._journal.commit(writes)
