"""What a configuration names and a host has, or has not: directories, users, groups."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import Protocol


class Host(Protocol):
    """What a configuration names and a host has, or has not."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory."""

    def has_user(self, name: str) -> bool:
        """Whether there is a user."""

    def has_group(self, name: str) -> bool:
        """Whether there is a group."""


class ThisHost:
    """The host on which this runs."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory."""
        return os.path.isdir(path)

    def has_user(self, name: str) -> bool:
        """Whether there is a user."""
        return _is_there(pwd.getpwnam, name)

    def has_group(self, name: str) -> bool:
        """Whether there is a group."""
        return _is_there(grp.getgrnam, name)


class AnyHost:
    """One that has everything: only the file is judged."""

    def is_directory(self, path: str) -> bool:  # noqa: ARG002 -- as the protocol has it
        """Whether there is a directory."""
        return True

    def has_user(self, name: str) -> bool:  # noqa: ARG002 -- as above
        """Whether there is a user."""
        return True

    def has_group(self, name: str) -> bool:  # noqa: ARG002 -- as above
        """Whether there is a group."""
        return True


def _is_there(look_up: Callable[[str], object], name: str) -> bool:
    try:
        look_up(name)
    except (KeyError, ValueError):  # a name with a NUL, or that is no text
        return False
    return True
