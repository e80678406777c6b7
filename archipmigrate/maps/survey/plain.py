"""The walk's twin in C (native/mapfile/survey): finds the plain files, and releases the GIL.

What is not plain it leaves to the walk in Python, which judges it: so there is one place that knows
all cases, and a share of odd files is only slower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from ...model import Limits
from ...tree.files import Tree
from ..journal.tables import PlainFile

with contextlib.suppress(ImportError):  # no C compiler where this was installed
    from ... import _native


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What C found in directories: files, how many directories it read, and packed groups.

    `rest` is what the limits left over, `left` is for the walk in Python.
    """

    files: Sequence[PlainFile]
    directories: int
    rest: bytes
    left: bytes


def survey_plain(maps: Tree, body: bytes, limits: Limits, wide: int) -> Surveyed:
    """Look at directories, packed groups, until done or a limit is reached.

    A directory with more names than *wide* is left. Raises OSError.
    """
    found = _native.survey_maps(
        root=maps.root,
        body=body,
        seconds=limits.seconds,
        entries=limits.entries,
        wide=wide,
        stop=limits.stop,
    )
    return Surveyed(*found)
