"""The halt of a session: one way, told to worker threads and to tasks."""

from __future__ import annotations

import trio


class Halt:
    """Once `set`, no new work is begun. Threads look at `flag` (a `StopFlag`), tasks wait."""

    def __init__(self) -> None:
        self.flag = bytearray(1)
        self._event = trio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Begin no new work. Called on the event loop."""
        self.flag[0] = 1
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when set, or after *seconds*."""
        with trio.move_on_after(seconds):
            await self._event.wait()
