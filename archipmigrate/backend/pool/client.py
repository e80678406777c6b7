"""The Python backend in several processes: in one, lanes would wait for each other's interpreter.

    lane thread   borrow a channel -> Call ------------------> thread of a worker: PythonBackend
                  until an answer comes, hand the stop flag on
                  answer <----------------------------------- pickled Scan or Applied

A channel is a socket with a thread at its other end; a process, one a core, has as many as its part
of the lanes. What a scan keeps open (`Kept`) stays in its process: apply does without it if another
one is free, and only the place in a wide directory must be read on where it is.

How a process ends: when its parent's main thread ends, by SIGKILL, or at the end of a channel. It
holds the share's lock as long as it lives: nothing is changed once another run may have that. All
other signals are blocked: a terminal or an init system sends them to all, and the parent decides.
If one is killed, calls raise BackendLost: what it was changing is not known, and the next session
settles that as after any kill.
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
GLANCE = 50  # milliseconds between two looks at the stop flag


class Process:
    """A worker process, and what it is to give up with the next call."""

    def __init__(
        self, root: int, keep: Sequence[int], channels: int, descriptors: int, open_dirs: int
    ) -> None:
        """Start it; *descriptors* are for each channel, *keep* stays open. Raises OSError."""
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
                    pass_fds=(root, flags, *theirs, *keep),
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
        """Return what is to be given up; others may add to it meanwhile."""
        taken = tuple(self.dropped)
        del self.dropped[: len(taken)]
        return taken

    def lost(self) -> BackendLost:
        """Return the error that says how it ended."""
        self._process.kill()  # it may only have lost its way
        status = self._process.wait()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return BackendLost(f"worker process {self._process.pid} ended by {how}: resume the run")

    def close(self) -> None:
        """Let it end, and wait for that."""
        self._hang_up()
        self._process.wait()

    def _hang_up(self) -> None:
        for channel in self.channels:
            channel.close()


class Channel:
    """A way to one thread of a process; for one call at a time."""

    def __init__(self, process: Process, number: int, own: socket.socket) -> None:
        self.process = process
        self.number = number
        self._socket = own
        self._answered = select.poll()
        self._answered.register(own, select.POLLIN)
        self._file = own.makefile("rwb")

    def wait_ready(self) -> None:
        """Return when there is somebody at the other end. Raises BackendLost."""
        if self._read() != READY:
            raise self.process.lost()

    def call(self, call: Call, stop: StopFlag) -> Any:
        """Return what the call returns over there, or raise what it raises, or BackendLost."""
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
        """Hang up."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._socket.close()


class Kept:
    """Something that a process keeps open: directories for apply, or a place in a wide one."""

    def __init__(self, process: Process, key: int) -> None:
        self.process = process
        self._key = key

    def take(self) -> int:
        """Return the key, for a call that uses the thing up."""
        key, self._key = self._key, 0
        return key

    def close(self) -> None:
        """Have it closed with the process's next call, if it is not used up."""
        if key := self.take():
            self.process.dropped.append(key)


class WorkersBackend:
    """Scan and apply below one directory, in Python, in processes of their own."""

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
        """Start so many *processes* that serve so many *lanes* and keep the descriptor *lock* open.

        The rest is as of `PythonBackend`.

        To be called in the main thread, which the processes do not survive. Raises OSError or
        BackendLost if they cannot be started.
        """
        self._processes: list[Process] = []
        self._free: list[Channel] = []
        self._freed = threading.Condition()
        keep = [lock] if lock >= 0 else []
        try:
            for number in range(processes):
                channels = (lanes + number) // processes
                process = Process(root, keep, channels, descriptors, open_dirs // processes)
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
        place = unit.cursor if isinstance(unit.cursor, Kept) else None
        bounds = (limits.seconds, limits.entries, limits.changes)
        arguments = (replace(unit, cursor=None), policy, options, bounds)
        with self._borrow(place, demand=True) as channel:
            process = channel.process
            key = place.take() if place else 0
            call = Call("scan", arguments, key, process.take_dropped())
            answer: tuple[Scan, int, int] = channel.call(call, limits.stop)
        scan, retained, cursor = answer
        if scan.wide:
            scan = replace(scan, wide=replace(scan.wide, cursor=Kept(process, cursor)))
        return replace(scan, retained=Kept(process, retained)) if retained else scan

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
        """Make, settle, check or put back changes (see `base.Backend.apply`).

        Raises BackendLost.
        """
        kept = retained if isinstance(retained, Kept) else None
        with self._borrow(kept, demand=False) as channel:
            process = channel.process
            key = kept.take() if kept and kept.process is process else 0
            arguments = (changes, verb, deny_limit, born_before)
            call = Call("apply", arguments, key, process.take_dropped())
            applied: Applied = channel.call(call, stop)
        return applied

    @contextlib.contextmanager
    def _borrow(self, kept: Kept | None, *, demand: bool) -> Iterator[Channel]:
        """Have a free channel, of the process that has *kept* if one is free, or on *demand*."""
        with self._freed:
            while (channel := self._choose(kept, demand=demand)) is None:
                self._freed.wait()
            self._free.remove(channel)
        try:
            yield channel
        finally:
            with self._freed:
                self._free.append(channel)
                self._freed.notify_all()

    def _choose(self, kept: Kept | None, *, demand: bool) -> Channel | None:
        if kept:
            for channel in self._free:
                if channel.process is kept.process:
                    return channel
            if demand:
                return None
        return self._free[0] if self._free else None

    def close(self) -> None:
        """End the processes: after that nothing holds the share open."""
        for process in self._processes:
            process.close()
