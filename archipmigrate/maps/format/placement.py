"""Where a map may lie. Pure.

v0.3 keeps volumes under the prefix `archip_` only: a map without it at v0.3's place is one that
somebody moved there, and v0.4 does not look for it.
"""

from __future__ import annotations

from ...layout.names import PREFIX
from ...layout.placement import Placement, placements
from ...tree.files import DirPath


def map_placements(name: bytes) -> list[tuple[Placement, DirPath]]:
    """Return where a map of this name may lie, in the order in which v0.4 looks for it."""
    found = placements(name)
    if name.startswith(PREFIX):
        return found
    return [(rule, path) for rule, path in found if rule is not Placement.V03]


def map_placement_of(name: bytes, directory: DirPath) -> Placement:
    """Return the placement of a map that lies in *directory*."""
    found = map_placements(name)
    return next((rule for rule, path in found if path == directory), Placement.ELSEWHERE)
