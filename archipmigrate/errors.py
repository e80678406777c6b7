"""Errors that end a command. Each class owns its exit status.

An entry that fails raises none of these: that is a value, `model.Failure`.
"""

from __future__ import annotations


class Error(Exception):
    """Ends the command; its text is shown to the user as it is."""

    exit_status = 1


class FatalError(Error):
    """The run cannot start or cannot continue."""


class UsageError(Error):
    """The command line makes no sense."""

    exit_status = 2


class BackendMissing(FatalError):
    """A backend was demanded by name and is not there."""


class BackendLost(FatalError):
    """A process of the backend was killed; what it was changing is not known."""


class NoThreads(FatalError):
    """No thread can be started, and none of ours is at work."""

    def __init__(self) -> None:
        super().__init__(
            "no thread can be started: raise the limit on tasks (TasksMax= of a systemd unit, "
            "--pids-limit of a container, ulimit -u), then resume"
        )


class ShareError(FatalError):
    """The share is not there, is not a directory, or must not be changed."""


class StateError(FatalError):
    """The state directory is unsafe or unusable."""


class JournalError(FatalError):
    """The journal cannot be written, or is damaged."""


class Interrupted(Error):
    """SIGINT or SIGTERM ended the command at a point from which it can be continued."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.exit_status = 128 + signal


class Busy(Error):
    """Another run on this host holds the share."""

    exit_status = 11

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(
            f"another run holds {path} ({holder}): wait for it, or stop it with SIGINT"
        )
        self.holder = holder
