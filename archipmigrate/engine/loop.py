"""The event loop of one command; it raises one error, not a group of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


def run_loop(work: Callable[..., Awaitable[T]], *values: object) -> T:
    """Run *work* in a loop of its own; return its result, or raise its first error."""
    try:
        return trio.run(work, *values)
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
