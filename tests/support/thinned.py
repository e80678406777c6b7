"""Choose the calls at which a run is struck: all for `make test-all`, every third for `make test`.

Each test begins at another one of the first three: together they strike calls of all kinds, and
always the same ones.
"""

from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Iterator

EXHAUSTIVE = bool(os.environ.get("ARCHIPMIGRATE_EXHAUSTIVE"))
THINNED = 3


def strikes(step: int = 1) -> Iterator[int]:
    """Yield numbers of calls without end: each *step*-th, or each third if that is fewer."""
    if EXHAUSTIVE:
        return itertools.count(1, step)
    test = os.environ["PYTEST_CURRENT_TEST"].partition(" (")[0].partition("::")[2]
    return itertools.count(1 + zlib.crc32(test.encode()) % THINNED, max(step, THINNED))
