"""A TCP proxy on the loopback that adds latency without limiting throughput, and cuts connections.

Owns its listener, its connections and the thread that serves them. It forwards all bytes *one_way*
later, in both directions: a round trip takes twice that, and the server's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Self

import trio

LOOPBACK = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)  # struct linger: close at once, by RST
# linux/timerfd.h, asm-generic/fcntl.h (alpha, mips and sparc have others)
TFD_NONBLOCK, TFD_CLOEXEC = 0o4000, 0o2000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Latency:
    """A proxy to a port of the loopback; serves on `port` from `with` on.

    *one_way* is in seconds and may be set at any time. A client in this process competes with the
    proxy for the interpreter, which adds latency.
    """

    def __init__(self, target: int, one_way: float) -> None:
        self.one_way = one_way
        self.port = 0
        self._target = target
        self._live: set[trio.SocketStream] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), name="latency")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        trio.from_thread.run_sync(self._all.cancel, trio_token=self._token)
        self._thread.join()

    def cut(self) -> None:
        """Reset all connections; new ones are served."""
        trio.from_thread.run_sync(self._cut, trio_token=self._token)

    async def _serve(self) -> None:
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        self.port = listeners[0].socket.getsockname()[1]
        self._token = trio.lowlevel.current_trio_token()
        with trio.CancelScope() as self._all:
            self._ready.set()
            await trio.serve_listeners(self._connection, listeners)

    def _cut(self) -> None:
        for stream in self._live:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            stream.socket.close()

    async def _connection(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream(LOOPBACK, self._target)
        except OSError:
            return  # closes `near`: the target is not listening
        ends = {near, far}
        self._live |= ends
        try:
            async with far, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass_on, near, far)
                nursery.start_soon(self._pass_on, far, near)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # one side is gone, or cut() was called: the other one is closed too
        finally:
            self._live -= ends

    async def _pass_on(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        """Read without waiting for deliveries, so that senders never block: an unbounded queue."""
        queue, queued = trio.open_memory_channel[tuple[float, bytes | bytearray]](math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver, queued, sink)
            async with queue:
                async for data in source:
                    queue.send_nowait((trio.current_time() + self.one_way, data))

    async def _deliver(
        self,
        queued: trio.MemoryReceiveChannel[tuple[float, bytes | bytearray]],
        sink: trio.SocketStream,
    ) -> None:
        with _alarm() as alarm:
            async for due, data in queued:
                await _sleep_until(due, alarm)
                await sink.send_all(data)
        await sink.send_eof()


@contextlib.contextmanager
def _alarm() -> Iterator[int]:
    """Create a timer to wait for: trio's own clock has the resolution of epoll, milliseconds."""
    alarm = LIBC.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
    if alarm < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    try:
        yield alarm
    finally:
        os.close(alarm)


async def _sleep_until(due: float, alarm: int) -> None:
    """Sleep until trio's clock says *due* (seconds)."""
    nanoseconds = round((due - trio.current_time()) * 1e9)
    if nanoseconds <= 0:
        return
    # struct itimerspec: no interval, then the time
    value = (ctypes.c_long * 4)(0, 0, *divmod(nanoseconds, 1_000_000_000))
    LIBC.timerfd_settime(alarm, 0, value, None)
    await trio.lowlevel.wait_readable(alarm)
    os.read(alarm, 8)
