"""Choose what `make test` leaves out: variants, calls at which a run is struck, repetitions.

Each test begins at another one of the first few: together they cover variants and calls of all
kinds, and always the same ones. `make test-all` leaves nothing out, nor does pytest by itself.

    make test   (--thinned)   every seventh call; every second variant (backend, version of NFS,
                              seed) of a test that is slow or runs the program, or every third if it
                              has more than two; a third of what is only repeated: random trees,
                              entries under attack, levels of a deep tree
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeVar

THINNED = 3
STRIKE = 7  # mostly no multiple of how often calls repeat, so all kinds have their turn

T = TypeVar("T")
_active = False


def thin(*, active: bool) -> None:
    """Say whether to leave anything out."""
    global _active  # noqa: PLW0603 -- an option of the whole process
    _active = active


def strikes(step: int = 1) -> Iterator[int]:
    """Yield numbers of calls without end: each *step*-th, or each seventh if that is fewer."""
    if not _active:
        return itertools.count(1, step)
    test = os.environ["PYTEST_CURRENT_TEST"].partition(" (")[0].partition("::")[2]
    return itertools.count(1 + _first_of(test, THINNED), max(step, STRIKE))


def is_all(found: AbstractSet[T], due: AbstractSet[T]) -> bool:
    """Whether what strikes have shown is all that is due; some of it, where calls are left out."""
    return found == due or (_active and found <= due)


def fewer(count: int) -> int:
    """Return how often to repeat what is repeated *count* times where nothing is left out."""
    return -(-count // THINNED) if _active else count


def some(cases: Sequence[T]) -> Sequence[T]:
    """Return those of the cases of a test that it tries."""
    return cases[::THINNED] if _active else cases


def variants(test: str, parameters: Sequence[T]) -> Sequence[T]:
    """Return those of the variants of a test that are run."""
    if not _active:
        return parameters
    step = min(len(parameters), THINNED)
    return parameters[_first_of(test, step) :: step]


def _first_of(name: str, count: int) -> int:
    return zlib.crc32(name.encode()) % count
