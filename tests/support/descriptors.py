"""Descriptors that are left open."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def open_now() -> set[tuple[int, str]]:
    """Return the open descriptors, each with what it leads to, after garbage has been closed."""
    gc.collect()
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


@contextmanager
def none_left_open() -> Iterator[None]:
    """Fail if a descriptor that is opened within is still open at the end."""
    before = open_now()
    yield
    assert open_now() - before == set()
