"""The builders and the reference reader of these tests, against files of the real v0.4."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import golden
from tests.support.golden import Case, Extracted
from tests.support.map_shares import (
    PREFIX,
    READONLY,
    Unreadable,
    Volume,
    block_name,
    is_pithos,
    lock_path,
    pithos_place,
    put,
    put_v2,
    read_volume,
    sha256_place,
    snapshot,
    v2_block,
    v2_blocks,
    v2_header,
)

pytestmark = pytest.mark.privileged


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Extracted]:
    return golden.extract(golden.cases(), tmp_path_factory.mktemp("golden"))


def chosen(*results: str) -> pytest.MarkDecorator:
    found = [case for case in golden.cases() if case.result in results]
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


def read(maps: Path, case: Case) -> Volume:
    return read_volume(maps, case.volume, size=case.v0_size, v03=case.kind == "p")


@chosen("upgraded")
def test_reader_sees_the_same_entries_in_what_v04_read_and_what_it_wrote(
    extracted: dict[str, Extracted], case: Case
) -> None:
    before = read(extracted[case.name].before.maps, case)
    after = read(extracted[case.name].after.maps, case)
    assert after.version == 2
    assert (after.name, before.name) in {
        (case.volume, case.volume),
        (case.volume, PREFIX + case.volume),
    }
    assert (after.entries, after.size) == (before.entries, before.size)
    assert after.flags == (READONLY if before.version == 0 else 0)
    assert after.epoch == (before.name != after.name)


@chosen("upgraded")
def test_builders_make_the_files_that_v04_wrote(
    extracted: dict[str, Extracted], case: Case, tmp_path: Path
) -> None:
    places = extracted[case.name]
    before = read(places.before.maps, case)
    in_place = before.name == case.volume
    flags = READONLY if before.version == 0 else before.flags
    place = sha256_place(case.volume)
    if is_pithos(case.volume) and (places.before.maps / pithos_place(case.volume)).is_dir():
        place = pithos_place(case.volume)
    made = put_v2(tmp_path, case.volume, before.entries, size=before.size, flags=flags,
                  epoch=not in_place, place=place)  # fmt: skip
    if in_place:
        old = (places.before.maps / place / case.volume).read_bytes()
        put(tmp_path, case.volume, made.read_bytes() + old[32:], place=place)
    now, then = snapshot(tmp_path), snapshot(places.after.maps)
    locks = {path for path in then if path.endswith("_lock")}
    assert {path: kept[:2] for path, kept in now.items()} == {
        path: kept[:2] for path, kept in then.items() if path not in locks
    }


@pytest.mark.parametrize(
    "case",
    # The map that is too long is valid.
    [c for c in golden.cases() if c.result == "invalid" and len(c.volume) != 83],
    ids=lambda case: case.name,
)
def test_reader_refuses_what_is_invalid(extracted: dict[str, Extracted], case: Case) -> None:
    with pytest.raises(Unreadable):
        read(extracted[case.name].before.maps, case)


@chosen("locked")
def test_locks_are_where_v04_looked_for_them(extracted: dict[str, Extracted], case: Case) -> None:
    share = extracted[case.name].before
    locks = share.locks if case.lock_dir else None
    names = (case.volume, PREFIX + case.volume)
    assert any(lock_path(share.maps, locks, name).is_file() for name in names)


def test_reader_refuses_a_short_and_a_missing_block(tmp_path: Path) -> None:
    entries = [(0, b"%064x" % number) for number in range(5)]
    put_v2(tmp_path, "foobar", entries, blocksize=512)
    assert read_volume(tmp_path, "foobar").entries == entries
    last = block_name("foobar", 1)
    put(tmp_path, last, v2_block(entries[4:])[:-1])
    with pytest.raises(Unreadable, match="bytes of"):
        read_volume(tmp_path, "foobar")
    (tmp_path / sha256_place(last) / last).unlink()
    with pytest.raises(Unreadable, match="not found"):
        read_volume(tmp_path, "foobar")


def test_full_block_holds_32768_entries() -> None:
    entries = [(0, b"")] * 32769
    assert [len(block) for block in v2_blocks(entries)] == [4 << 20, 128]
    assert len(v2_header(0)) == 32
