"""The result of a volume, for every pair of files called `foobar` and `archip_foobar`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.inprocess import Program
from tests.support.map_cases import DIGESTS, MAP, PITHOS_SIZE
from tests.support.map_runs import FINE, arguments, check_summary, lines, results
from tests.support.map_shares import (
    DELETED,
    PREFIX,
    READONLY,
    from_v0,
    from_v1,
    put,
    put_v2,
    read_volume,
    snapshot,
    v0,
    v1,
    v1_entries,
    v2_header,
)

pytestmark = pytest.mark.privileged
OWN, OLD = v1_entries(3, "own"), v1_entries(4, "old")  # two volumes that can be told apart

Make = Callable[[Path, str], object]
ROWS: dict[str, Make] = {
    "absent": lambda maps, name: None,
    "v2 live": lambda maps, name: put_v2(maps, name, from_v1(OWN)),
    "v2 read-only": lambda maps, name: put_v2(maps, name, from_v1(OWN), flags=READONLY, epoch=9),
    "v2 deleted": lambda maps, name: put(maps, name, v2_header(8 << 20, flags=DELETED)),
    "v1": lambda maps, name: put(maps, name, v1(OWN)),
    "v0": lambda maps, name: put(maps, name, v0(DIGESTS)),
    "v2 without blocks": lambda maps, name: put(maps, name, v2_header(8 << 20)),
    "v2 of bad block size": lambda maps, name: put(maps, name, v2_header(0, blocksize=100)),
    "v1 cut off": lambda maps, name: put(maps, name, v1(OWN)[:-1]),
    "empty": put,
    "foreign content": lambda maps, name: put(maps, name, b"no map at all\n" * 9),
}
COLUMNS: dict[str, Make] = {
    "absent": lambda maps, name: None,
    "v1": lambda maps, name: put(maps, name, v1(OLD)),
    "v2 live": lambda maps, name: put_v2(maps, name, from_v1(OLD), flags=READONLY, epoch=7),
    "v2 deleted": lambda maps, name: put_v2(maps, name, from_v1(OLD), flags=DELETED),
    "v1 cut off": lambda maps, name: put(maps, name, v1(OLD)[:-1]),
    "v2 without blocks": lambda maps, name: put(maps, name, v2_header(8 << 20)),
    "foreign content": lambda maps, name: put(maps, name, b"no map at all\n" * 9),
    "empty": put,
}
# What each kind of entry is in the table, and the table itself.
ROW_OF = {"absent": "absent", "v2 live": "live", "v2 read-only": "live", "v2 deleted": "deleted",
          "v1": "old", "v0": "old"}  # fmt: skip
COLUMN_OF = {"absent": "absent", "v1": "v1", "v2 live": "live", "v2 deleted": "deleted"}
TABLE = {
    "absent": {"v1": "upgraded", "live": "upgraded", "deleted": "leftover", "invalid": "invalid"},
    "live": {"absent": "current", "v1": "shadowed", "live": "shadowed", "deleted": "leftover",
             "invalid": "shadowed"},
    "deleted": {"absent": "current", "v1": "conflict", "live": "conflict", "deleted": "leftover",
                "invalid": "conflict"},
    "old": {"absent": "upgraded", "v1": "conflict", "live": "conflict", "deleted": "conflict",
            "invalid": "conflict"},
    "invalid": {"absent": "invalid", "v1": "conflict", "live": "conflict", "deleted": "conflict",
                "invalid": "conflict"},
}  # fmt: skip


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


def result_of(row: str, column: str) -> str | None:
    kinds = TABLE[ROW_OF.get(row, "invalid")]
    return kinds.get(COLUMN_OF.get(column, "invalid"))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", ROWS)
def test_volume_is_what_the_table_says(program: Program, maps: Path, row: str, column: str) -> None:
    volume = MAP if row == "v0" else "foobar"
    sizes = {MAP: PITHOS_SIZE} if row == "v0" else None
    ROWS[row](maps, volume)
    COLUMNS[column](maps, PREFIX + volume)
    before = snapshot(maps)
    result = result_of(row, column)
    ended = program(*arguments(maps, sizes=sizes))
    check_summary(ended)
    if result is None:
        assert not results(ended)
        assert ended.status == 0
        return
    assert (results(ended), ended.status) == ({volume: result}, 0 if result in FINE else 3)
    (line,) = lines(ended, "volume")
    assert bool(line["reason"]) or result in FINE
    if result != "upgraded":
        assert snapshot(maps) == before
        return
    found = read_volume(maps, volume)
    assert (found.version, found.name) == (2, volume)
    if row == "v0":
        due = (READONLY, 0, from_v0(DIGESTS))
    elif row == "v1":
        due = (0, 0, from_v1(OWN))
    else:
        due = (0 if column == "v1" else READONLY, 1, from_v1(OLD))
    assert (found.flags, found.epoch, found.entries) == due
    assert (line["objects"], line["size"]) == (len(found.entries), found.size)
    assert line["version_before"] == {"v0": 0, "v1": 1}.get(row, 1 if column == "v1" else 2)
    assert not [path for path in snapshot(maps) if PREFIX in path]


def test_table_has_every_cell() -> None:
    cells = [result_of(row, column) for row in ROWS for column in COLUMNS]
    assert cells.count(None) == 1
    assert set(cells) == {
        None,
        "upgraded",
        "current",
        "leftover",
        "invalid",
        "shadowed",
        "conflict",
    }
