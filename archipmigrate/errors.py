"""Errors that end a run. Each class owns its exit status.

What goes wrong with one entry is no exception but a `Failure`, a value (see `model`).
"""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """Something that ends the run; its text is shown to the user as it is."""

    exit_status: ClassVar[int] = 1


class FatalError(Error):
    """The run cannot start or cannot go on."""


class UsageError(Error):
    """The command line asks for something that makes no sense."""

    exit_status = 2


class BackendMissing(FatalError):
    """A backend was demanded by name and is not there."""


class BackendLost(FatalError):
    """A process of the backend was killed; what it was changing is not known."""


class ShareError(FatalError):
    """The share is not there, is no directory, or is not one that may be changed."""


class StateError(FatalError):
    """The state directory is unsafe or unusable."""


class JournalError(FatalError):
    """The journal cannot be written, or what it holds is damaged."""


class Busy(Error):
    """Another run on this host holds the share."""

    exit_status = 11

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(
            f"another run holds {path} ({holder}): wait for it, or stop it with SIGINT"
        )
        self.holder = holder
