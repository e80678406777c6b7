"""Which backend serves: the fastest that is there, unless one is demanded by name."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable

from ..errors import BackendMissing, UsageError
from ..share import Share
from .base import Backend
from .posix import PosixBackend

NATIVE: Callable[..., Backend] | None
try:
    from .native import NativeBackend

    NATIVE = NativeBackend
except ImportError:  # no C compiler where this was installed
    NATIVE = None
NFS: Callable[..., Backend] | None
try:
    from .nfs import NfsBackend

    NFS = NfsBackend
except ImportError:
    NFS = None

NAMES = ("auto", "native", "python", "nfs")
# A lane holds at most so many directories open, and fewer where the process may have few.
DESCRIPTORS = 64
FEWEST_DESCRIPTORS = 4
# So many directories in all may be kept open from scan to apply: a few seconds' worth.
MOST_HELD = 1 << 15
RESERVED = 64  # for the journal, cursors, entries being pinned, and Python itself


def available() -> list[str]:
    """Return the names of the backends for mounted shares, the preferred one first."""
    return ["native", "python"] if NATIVE else ["python"]


def served() -> list[str]:
    """Return the names of all backends that are there."""
    return [*available(), *(["nfs"] if NFS else [])]


def demand_backend(name: str) -> None:
    """Raise BackendMissing if a backend is named that is not there: a demand, not a preference."""
    if name not in ("auto", *served()):
        raise BackendMissing(
            f"the {name} backend is not there: install with a C compiler at hand, "
            f"or use --backend {available()[0]}"
        )


def open_backend(name: str, share: Share, lanes: int) -> Backend:
    """Open the backend called *name* (or `auto`) on a share, for so many *lanes* at once.

    Raises BackendMissing, and UsageError if the backend is not one for this share.
    """
    demand_backend(name)
    if share.opened is not None:
        if name not in ("auto", "nfs"):
            raise UsageError(f"--backend {name} needs a mount: name the directory, not a URL")
        assert NFS is not None  # noqa: S101 -- for the type checker: it has opened the share
        return NFS(share.opened, share.reopen)
    if name == "nfs":
        raise UsageError("--backend nfs needs a URL: nfs://SERVER/PATH")
    limit = _raised_limit() - RESERVED
    descriptors = max(min(limit // lanes, DESCRIPTORS), FEWEST_DESCRIPTORS)
    held = max(min(limit - descriptors * lanes, MOST_HELD), 0)
    if held:
        # The kernel grows a table of descriptors that threads share only after a grace period, at
        # each doubling: let it grow now.
        os.close(fcntl.fcntl(share.fd, fcntl.F_DUPFD_CLOEXEC, held))
    make = NATIVE if NATIVE and name != "python" else PosixBackend
    return make(share.fd, descriptors=descriptors, held=held)


def _raised_limit() -> int:
    """Raise the limit on open files as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else MOST_HELD * 2
