"""What a worker process of the Python backend does: answers calls, one at a time on each channel.

Started by `workers`, with the root and the channels as descriptors; see there for how it ends. A
request is a pickled `Call`, an answer (value, error), one of them None.
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

from ...model import Applied, Cursor, Limits, Retained, Scan, StopFlag, Unit, Verb
from ...policy import GroupPolicy
from ..base import ScanOptions
from ..python import PythonBackend

PR_SET_PDEATHSIG = 1
READY = "ready"


@dataclass(frozen=True, slots=True)
class Call:
    """A verb with its arguments; `dropped` are keys of what need not be kept any more.

    What a scan keeps open stays here and is known by a key to the other side; 0 is nothing.
    """

    verb: str
    arguments: tuple[Any, ...]
    kept: int = 0
    dropped: tuple[int, ...] = ()


class Worker:
    """The backend, and what it keeps open for later calls."""

    def __init__(self, backend: PythonBackend, flags: memoryview) -> None:
        """Serve a backend; *flags* has a stop flag for each channel."""
        self._backend = backend
        self._flags = flags
        self._kept: dict[int, Retained | Cursor] = {}
        self._keys = count(1)

    def serve(self, number: int, channel: BinaryIO) -> None:
        """Answer calls until the other side is gone; then there is nobody to work for."""
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
            self._kept.pop(key).close()
        kept: Any = self._kept.pop(call.kept, None)
        stop = cast("StopFlag", self._flags[number : number + 1])
        if call.verb == "apply":
            return self._apply(kept, stop, *call.arguments)
        return self._scan(kept, stop, *call.arguments)

    def _scan(
        self,
        cursor: Cursor | None,
        stop: StopFlag,
        unit: Unit,
        policy: GroupPolicy,
        options: ScanOptions,
        limits: tuple[float, int, int],
    ) -> tuple[Scan, int, int]:
        """Return the scan without what cannot be sent; keys of its directories and its cursor."""
        limited = Limits(*limits, stop)
        scan = self._backend.scan(replace(unit, cursor=cursor), policy, options, limited)
        retained = self._keep(scan.retained)
        place = self._keep(scan.wide.cursor if scan.wide else None)
        wide = replace(scan.wide, cursor=None) if scan.wide else None
        return replace(scan, retained=None, wide=wide), retained, place

    def _apply(
        self,
        retained: Retained | None,
        stop: StopFlag,
        changes: bytes,
        verb: Verb,
        deny_limit: int,
        born_before: int,
    ) -> Applied:
        try:
            return self._backend.apply(
                changes,
                verb,
                deny_limit=deny_limit,
                born_before=born_before,
                retained=retained,
                stop=stop,
            )
        finally:
            if retained:
                retained.close()

    def _keep(self, thing: Retained | Cursor | None) -> int:
        if thing is None:
            return 0
        key = next(self._keys)
        self._kept[key] = thing
        return key


def _send(channel: BinaryIO, answer: object) -> None:
    pickle.dump(answer, channel, pickle.HIGHEST_PROTOCOL)
    channel.flush()


def main(arguments: Sequence[str]) -> None:
    """Serve: parent, fds of root and flags, fds and open directories a process, channels."""
    parent, root, flags, descriptors, open_dirs, *channels = map(int, arguments)
    # Whoever killed the parent must not find us at work; signals are blocked, they are its affair.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    backend = PythonBackend(root, descriptors=descriptors, open_dirs=open_dirs)
    os.close(root)
    worker = Worker(backend, memoryview(mmap.mmap(flags, mmap.PAGESIZE)))
    for number, fd in enumerate(channels):
        channel = socket.socket(fileno=fd).makefile("rwb")
        threading.Thread(target=worker.serve, args=(number, channel)).start()
