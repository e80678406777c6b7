"""A worker process of the Python backend: answers calls, one at a time on each channel.

`client` starts it, with the root and the channels as descriptors, and documents how it ends. A
request is a pickled `Call`; an answer is (value, error), one of them None.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, BinaryIO, cast

from ...model import Applied, Cursor, Known, Limits, Retained, Scan, StopFlag, Unit, Verb
from ...policy import GroupPolicy
from ..base import ScanOptions
from ..python.backend import PythonBackend

PR_SET_PDEATHSIG = 1
READY = "ready"


@dataclass(frozen=True, slots=True)
class Call:
    """A verb with its arguments.

    What a scan leaves open stays in the worker; the client knows it by a key, 0 for nothing.
    `used` is the key of what this call uses up, `dropped` are keys of what has to be closed.
    """

    verb: str
    arguments: tuple[Any, ...]
    used: int = 0
    dropped: tuple[int, ...] = ()


class Worker:
    """The backend, and what stays open for later calls."""

    def __init__(self, backend: PythonBackend, flags: memoryview) -> None:
        """Serve a backend; *flags* has a stop flag for each channel."""
        self._backend = backend
        self._flags = flags
        self._open: dict[int, Retained | Cursor] = {}
        self._keys = count(1)

    def serve(self, number: int, channel: BinaryIO) -> None:
        """Answer calls until the client closes the channel; then end the process."""
        try:
            _send(channel, READY)
            while True:
                call = pickle.load(channel)  # noqa: S301 -- from the process that started this one
                _send(channel, self._answer(number, call))
        except (EOFError, OSError):
            os._exit(0)
        except BaseException:  # noqa: BLE001 -- or the other side would wait for ever
            traceback.print_exc()
            os._exit(1)

    def _answer(self, number: int, call: Call) -> tuple[object, Exception | None]:
        try:
            return self._do(number, call), None
        except Exception as error:  # noqa: BLE001 -- it is raised over there
            error.add_note(traceback.format_exc())
            return None, error

    def _do(self, number: int, call: Call) -> object:
        for key in call.dropped:
            self._open.pop(key).close()
        used: Any = self._open.pop(call.used, None)
        stop = cast("StopFlag", self._flags[number : number + 1])
        if call.verb == "apply":
            return self._apply(used, stop, *call.arguments)
        return self._scan(used, stop, *call.arguments)

    def _scan(
        self,
        cursor: Cursor | None,
        stop: StopFlag,
        unit: Unit,
        policy: GroupPolicy,
        options: ScanOptions,
        limits: tuple[float, int, int],
    ) -> tuple[Scan, int, int]:
        """Return the scan, without what cannot be sent; and keys of its directories and cursor."""
        limited = Limits(*limits, stop)
        scan = self._backend.scan(replace(unit, cursor=cursor), policy, options, limited)
        retained = self._store(scan.retained)
        cursor_key = self._store(scan.wide.cursor if scan.wide else None)
        wide = replace(scan.wide, cursor=None) if scan.wide else None
        return replace(scan, retained=None, wide=wide), retained, cursor_key

    def _apply(
        self,
        retained: Retained | None,
        stop: StopFlag,
        changes: bytes,
        verb: Verb,
        deny_limit: int,
        known: Known,
    ) -> Applied:
        try:
            return self._backend.apply(
                changes,
                verb,
                deny_limit=deny_limit,
                known=known,
                retained=retained,
                stop=stop,
            )
        finally:
            if retained:
                retained.close()

    def _store(self, opened: Retained | Cursor | None) -> int:
        """Store what stays open; return its key."""
        if opened is None:
            return 0
        key = next(self._keys)
        self._open[key] = opened
        return key


def _send(channel: BinaryIO, answer: object) -> None:
    pickle.dump(answer, channel, pickle.HIGHEST_PROTOCOL)
    channel.flush()


def main(arguments: Sequence[str]) -> None:
    """Serve: pid of the parent, fds of root and flags, descriptors, open_dirs, fds of channels."""
    parent, root, flags, descriptors, open_dirs, *channels = map(int, arguments)
    # A parent that was killed must not leave a worker that goes on changing entries.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    backend = PythonBackend(root, descriptors=descriptors, open_dirs=open_dirs)
    os.close(root)
    worker = Worker(backend, memoryview(mmap.mmap(flags, mmap.PAGESIZE)))
    for number, fd in enumerate(channels):
        channel = socket.socket(fileno=fd).makefile("rwb")
        try:
            threading.Thread(target=worker.serve, args=(number, channel)).start()
        except RuntimeError:  # the other threads would serve on, and the client wait for this one
            os._exit(2)
