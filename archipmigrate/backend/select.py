"""Choose the backend: the fastest that is installed, unless one is demanded by name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource

from ..errors import BackendLost, FatalError, UsageError
from ..share import Share
from ..share.remote import HAS_NFS
from . import extensions
from .base import Backend

NAMES = ("auto", "native", "python", "nfs")
# Directories that a call keeps open while it works; fewer where the process may open few files.
DESCRIPTORS = 64
FEWEST_DESCRIPTORS = 4
# Directories, over all lanes, that may stay open from scan to apply: a few seconds' worth.
MOST_OPEN_DIRS = 1 << 15
# Calls in flight of the nfs backend: at 5 ms of round trip 256 are twice as fast as 64.
CALLS = 256
MOST_CALLS = 512
# Lanes that share them, each with its own connection: with more, the CPU is the limit.
REMOTE_LANES = 4
FEWEST_FILES = 32  # with these, few lanes still find what they need
RESERVED = 64  # for the journal, cursors, entries being pinned, and Python itself


def available() -> list[str]:
    """Return the names of the backends for directories, the preferred one first."""
    return ["native", "python"] if extensions.BUILT else ["python"]


def served() -> list[str]:
    """Return the names of all backends that are installed."""
    return [*available(), *(["nfs"] if HAS_NFS else [])]


def demand_backend(name: str, share: Share) -> None:
    """Check that a named backend is installed, and can serve this share: a name is a demand.

    Raises BackendMissing, UsageError.
    """
    if name not in ("auto", *served()):
        raise extensions.missing(name)
    if share.opened is not None and name not in ("auto", "nfs"):
        raise UsageError(f"--backend {name} needs a mount: name the directory, not a URL")
    if not share.is_nfs and name == "nfs":
        raise UsageError("--backend nfs needs a mounted NFS share, or a URL: nfs://SERVER/PATH")


def is_python(name: str, share: Share) -> bool:
    """Say whether `open_backend` opens the Python backend."""
    return share.opened is None and not extensions.uses_native(name)


def open_backend(name: str, share: Share, lanes: int, calls: int = CALLS) -> Backend:
    """Open the backend called *name* (or `auto`) on a share, for *lanes* lanes.

    The nfs backend has at most *calls* calls in flight.

    Raises BackendMissing, UsageError if the backend cannot serve this share, and FatalError if this
    process may open too few files.
    """
    demand_backend(name, share)
    if share.opened is not None:
        from .nfs import NfsBackend  # noqa: PLC0415 -- it may not be there

        return NfsBackend(share.opened, min(calls, MOST_CALLS), share.reopen)
    limit = _raised_limit() - RESERVED
    descriptors = max(min(limit // lanes, DESCRIPTORS), FEWEST_DESCRIPTORS)
    open_dirs = max(min(limit - descriptors * lanes, MOST_OPEN_DIRS), 0)
    if open_dirs:
        # Each time the table of descriptors doubles, the kernel waits for a grace period if threads
        # share it: let it grow now.
        os.close(fcntl.fcntl(share.fd, fcntl.F_DUPFD_CLOEXEC, open_dirs))
    if is_python(name, share):
        return _open_python(share, lanes, descriptors, open_dirs)
    from .native import NativeBackend  # noqa: PLC0415 -- it may not be there

    return NativeBackend(share.fd, descriptors=descriptors, open_dirs=open_dirs)


def _open_python(share: Share, lanes: int, descriptors: int, open_dirs: int) -> Backend:
    """Open the Python backend: on a local disk in several processes, since Python is the limit.

    Where no process can be started (an interpreter that may not be read) it works in this one.
    """
    from .pool.client import PoolBackend  # noqa: PLC0415 -- only for those who build no C
    from .python.backend import PythonBackend  # noqa: PLC0415 -- the same

    processes = 1 if share.is_nfs else min(lanes, os.cpu_count() or 1)
    if processes > 1:
        with contextlib.suppress(OSError, BackendLost):
            return PoolBackend(
                share.fd,
                processes=processes,
                lanes=lanes,
                descriptors=descriptors,
                open_dirs=open_dirs,
                lock=share.lock,
            )
    return PythonBackend(share.fd, descriptors=descriptors, open_dirs=open_dirs)


def _raised_limit() -> int:
    """Raise the limit on open files as far as allowed; return it. Raises FatalError if too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return MOST_OPEN_DIRS * 2
    if hard < FEWEST_FILES:
        raise FatalError(
            f"only {hard} files may be open, and {FEWEST_FILES} are needed at least: raise the "
            "limit (ulimit -n, LimitNOFILE= of a systemd unit)"
        )
    return hard
