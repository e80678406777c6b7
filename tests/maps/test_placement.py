"""Where maps may lie: v0.3 kept those with the prefix only."""

from __future__ import annotations

import pytest

from archipmigrate.layout.placement import Placement, v03_dir
from archipmigrate.maps.format.placement import map_placement_of, map_placements


@pytest.mark.parametrize("name", [b"1234567foobar", b"0123456789abcdef" * 4])
def test_map_without_the_prefix_has_no_place_of_v03(name: bytes) -> None:
    place = v03_dir(name)
    assert place is not None
    assert Placement.V03 not in dict(map_placements(name))
    assert map_placement_of(name, place) is Placement.ELSEWHERE


def test_map_with_the_prefix_may_lie_where_v03_puts_it() -> None:
    assert map_placement_of(b"archip_foobar", (b"fo", b"ob", b"ar")) is Placement.V03
