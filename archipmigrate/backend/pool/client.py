"""The Python backend in several processes: in one, lanes would wait for each other's interpreter.

    lane thread   borrow a channel -> Call ------------------> thread of a worker: PythonBackend
                  pass the stop flag on until there is an answer
                  answer <----------------------------------- pickled Scan or Applied

A channel is a socket with a worker's thread at its other end. There is a worker process for each
core, and each has channels for its part of the lanes. What a scan leaves open stays in its worker,
and the client has a `RemoteRef` to it. An apply does without that if a channel of another worker is
free; the rest of a wide directory has to be read by the worker that has it open.

A worker ends by SIGKILL: when the parent's main thread ends; or by itself when a channel is closed.
It has the share's lock open as long as it lives, so that no other run can get the lock while a
worker may still change something. All other signals are blocked: terminals and init systems send
them to all processes, and the parent decides. If a worker is killed, calls raise BackendLost: what
it changed is unknown, and the next session settles that as after any kill.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import model
from ...errors import BackendLost
from ...model import NEVER, Applied, Limits, Scan, StopFlag, Unit, Verb
from ...policy import GroupPolicy
from ..base import ScanOptions
from .server import READY, Call

PACKAGES = Path(__file__).parents[3]
# Isolated and without site: it needs this package and the standard library only.
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from archipmigrate.backend.pool.server import main; main(sys.argv[2:])"
)
GLANCE = 50  # milliseconds between two checks of the stop flag


class WorkerProcess:
    """A worker, and the keys of what it has to close with the next call."""

    def __init__(
        self, root: int, inherited: Sequence[int], channels: int, descriptors: int, open_dirs: int
    ) -> None:
        """Start it with the descriptors in *inherited* open too. Raises OSError.

        *descriptors* and *open_dirs* are those of `PythonBackend`.
        """
        self.dropped: list[int] = []
        pairs = [socket.socketpair() for _ in range(channels)]
        self.channels = [Channel(self, number, own) for number, (own, _) in enumerate(pairs)]
        flags = os.memfd_create("stop")
        try:
            os.ftruncate(flags, mmap.PAGESIZE)
            self.flags = mmap.mmap(flags, mmap.PAGESIZE)
            theirs = [their.fileno() for _, their in pairs]
            numbers = (os.getpid(), root, flags, descriptors, open_dirs, *theirs)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                self._process = subprocess.Popen(  # noqa: S603 -- this very program
                    [sys.executable, "-IBS", "-c", PROGRAM, PACKAGES, *map(str, numbers)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(root, flags, *theirs, *inherited),
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            self._hang_up()
            raise
        finally:
            os.close(flags)
            for _, their in pairs:
                their.close()

    def take_dropped(self) -> tuple[int, ...]:
        """Return the keys of what the worker has to close; other threads may add keys meanwhile."""
        taken = tuple(self.dropped)
        del self.dropped[: len(taken)]
        return taken

    def lost(self) -> BackendLost:
        """Make sure that it has ended; return the error that says how."""
        self._process.kill()  # it may be alive, and only its channel broken
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return BackendLost(f"worker process {self._process.pid} ended by {how}: resume the run")

    def close(self) -> None:
        """Close its channels, and wait for its end."""
        self._hang_up()
        self._process.wait()

    def _hang_up(self) -> None:
        for channel in self.channels:
            channel.close()


class Channel:
    """A connection to one thread of a worker, for one call at a time."""

    def __init__(self, process: WorkerProcess, number: int, own: socket.socket) -> None:
        self.process = process
        self.number = number
        self._socket = own
        self._answered = select.poll()
        self._answered.register(own, select.POLLIN)
        self._file = own.makefile("rwb")

    def wait_ready(self) -> None:
        """Wait until the worker serves the channel. Raises BackendLost."""
        if self._read() != READY:
            raise self.process.lost()

    def call(self, call: Call, stop: StopFlag) -> Any:
        """Make a call in the worker. Raises what it raises there, or BackendLost."""
        flags = self.process.flags
        flags[self.number] = stop[0]
        try:
            pickle.dump(call, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError:
            raise self.process.lost() from None
        while not self._answered.poll(GLANCE):
            flags[self.number] = stop[0]
        value, error = self._read()
        if error is not None:
            raise error
        return value

    def _read(self) -> Any:
        try:
            return pickle.load(self._file)  # noqa: S301 -- from a process that we started
        except (EOFError, OSError, pickle.UnpicklingError):
            raise self.process.lost() from None

    def close(self) -> None:
        """Close it; the worker ends then."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


class RemoteRef:
    """A reference to what a worker has open: directories for apply, or a wide directory."""

    def __init__(self, process: WorkerProcess, key: int) -> None:
        self.process = process
        self._key = key

    def take(self) -> int:
        """Return the key, once: for the call that uses the object up. Return 0 afterwards."""
        key, self._key = self._key, 0
        return key

    def close(self) -> None:
        """Have the worker close it with its next call, if it is not used up."""
        if key := self.take():
            self.process.dropped.append(key)


class PoolBackend:
    """Scan and apply below one directory, in Python, in worker processes."""

    name = "python"
    nfs_version = 0
    remark = ""

    def __init__(
        self,
        root: int,
        *,
        processes: int,
        lanes: int,
        descriptors: int = 64,
        open_dirs: int = 0,
        lock: int = -1,
    ) -> None:
        """Start *processes* workers for *lanes* lanes.

        Workers have the descriptor *lock* open until they end. *root*, *descriptors* and
        *open_dirs* are those of `PythonBackend`. To be called in the main thread: workers do not
        survive the thread that started them. Raises OSError or BackendLost if they cannot be
        started.
        """
        self._processes: list[WorkerProcess] = []
        self._free: list[Channel] = []
        self._freed = threading.Condition()
        inherited = [lock] if lock >= 0 else []
        try:
            for number in range(processes):
                channels = (lanes + number) // processes
                process = WorkerProcess(
                    root, inherited, channels, descriptors, open_dirs // processes
                )
                self._processes.append(process)
                self._free += process.channels
            for channel in self._free:
                channel.wait_ready()
            self._free.sort(key=lambda channel: channel.number)
        except BaseException:
            self.close()
            raise

    def scan(self, unit: Unit, policy: GroupPolicy, options: ScanOptions, limits: Limits) -> Scan:
        """Look at the entries of a unit (see `base.Backend.scan`). Raises BackendLost."""
        cursor = unit.cursor if isinstance(unit.cursor, RemoteRef) else None
        bounds = (limits.seconds, limits.entries, limits.changes)
        arguments = (replace(unit, cursor=None), policy, options, bounds)
        with self._borrow(cursor, demand=True) as channel:
            process = channel.process
            key = cursor.take() if cursor else 0
            call = Call("scan", arguments, key, process.take_dropped())
            answer: tuple[Scan, int, int] = channel.call(call, limits.stop)
        scan, retained, wide = answer
        if scan.wide:
            scan = replace(scan, wide=replace(scan.wide, cursor=RemoteRef(process, wide)))
        return replace(scan, retained=RemoteRef(process, retained)) if retained else scan

    def apply(
        self,
        changes: bytes,
        verb: Verb,
        *,
        deny_limit: int = 0,
        born_before: int = 0,
        retained: model.Retained | None = None,
        stop: StopFlag = NEVER,
    ) -> Applied:
        """Make, settle or put back changes (see `base.Backend.apply`).

        Raises BackendLost.
        """
        wanted = retained if isinstance(retained, RemoteRef) else None
        with self._borrow(wanted, demand=False) as channel:
            process = channel.process
            key = wanted.take() if wanted and wanted.process is process else 0
            arguments = (changes, verb, deny_limit, born_before)
            call = Call("apply", arguments, key, process.take_dropped())
            applied: Applied = channel.call(call, stop)
        return applied

    @contextlib.contextmanager
    def _borrow(self, wanted: RemoteRef | None, *, demand: bool) -> Iterator[Channel]:
        """Borrow a free channel: of the worker that has *wanted* open, if there is one.

        On *demand* wait for one of that worker.
        """
        with self._freed:
            while (channel := self._choose(wanted, demand=demand)) is None:
                self._freed.wait()
            self._free.remove(channel)
        try:
            yield channel
        finally:
            with self._freed:
                self._free.append(channel)
                self._freed.notify_all()

    def _choose(self, wanted: RemoteRef | None, *, demand: bool) -> Channel | None:
        if wanted:
            for channel in self._free:
                if channel.process is wanted.process:
                    return channel
            if demand:
                return None
        return self._free[0] if self._free else None

    def close(self) -> None:
        """End the workers; then nothing of them has the share open any more."""
        for process in self._processes:
            process.close()
