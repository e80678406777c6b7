"""Where v0.4, v0.3 and Pithos keep an object, and what v0.3 calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.layout.names import (
    LOCK,
    PREFIX,
    is_digest,
    is_v03_data,
    lock_name,
    v03_data_name,
)
from archipmigrate.layout.placement import (
    Placement,
    pithos_dir,
    pithos_dir_of_v03,
    placement_of,
    placements,
    sha256_dir,
    v03_dir,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "v03"
DIGITS = b"0123456789abcdef" * 4
ZERO_BLOCK = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SHORT = b"archip_shrt"

Path3 = tuple[bytes, ...]


def listed(name: str) -> Iterator[tuple[bytes, Path3, bytes]]:
    """Yield the tree, directory and name of each file of a listing: type mode owner size path."""
    for line in (GOLDEN / name).read_bytes().splitlines():
        kind, _, _, _, path = line.split(b" ", 4)
        if kind == b"f":
            *parents, file = path.removeprefix(b"./").split(b"/")
            levels = 2 if parents[0] == b"pithos" else 1
            yield b"/".join(parents[:levels]), tuple(parents[levels:]), file


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"archip_foobar", (b"fo", b"ob", b"ar")),
        (b"archip_foobar_and_more", (b"fo", b"ob", b"ar")),
        (b"archip_abc_lock", (b"ab", b"c_", b"lo")),
        (b"archip_" + DIGITS, (b"01", b"23", b"45")),
        (b"archip_archip_foobar", (b"ar", b"ch", b"ip")),
        (b"archip_\xff\n  .x", (b"\xff\n", b"  ", b".x")),
        (b"archip_a..bcd", (b"a.", b".b", b"cd")),
        (b"ARCHIP_foobar", (b"fo", b"ob", b"ar")),
        (b"1234567foobar", (b"fo", b"ob", b"ar")),
        (DIGITS, (b"78", b"9a", b"bc")),
        (ZERO_BLOCK, (b"29", b"8f", b"c1")),
        (b"archip_fooba", None),
        (SHORT, None),
        (b"archip_", None),
        (b"archip", None),
        (b"foobar", None),
        (b"", None),
    ],
)
def test_v03_directory_is_cut_from_the_bytes_after_the_first_7(
    name: bytes, path: Path3 | None
) -> None:
    assert v03_dir(name) == path


@pytest.mark.parametrize(
    "name",
    [
        b"archip_..abcdef",
        b"archip_ab..cdef",
        b"archip_abcd..ef",
        b"archip_....abcd",
        b"archip_ab/cdef",
        b"archip_abc\0def",
    ],
)
def test_v03_directory_that_leads_elsewhere_is_none(name: bytes) -> None:
    assert v03_dir(name) is None
    assert pithos_dir_of_v03(name.removeprefix(PREFIX)) is None


def test_v03_tries_pithos_tree_by_the_first_bytes_of_any_name() -> None:
    assert pithos_dir_of_v03(b"archip_foobar") == (b"ar", b"ch", b"ip")
    assert pithos_dir_of_v03(DIGITS) == pithos_dir(DIGITS)
    assert pithos_dir_of_v03(b"fooba") is None


def test_pithos_directory_is_the_start_of_the_name() -> None:
    assert pithos_dir(DIGITS) == (b"01", b"23", b"45")


@pytest.mark.parametrize(
    "name", [DIGITS[1:], DIGITS + b"0", DIGITS.upper(), b"archip_" + DIGITS, DIGITS[:-1] + b"\n"]
)
def test_pithos_has_directories_for_digests_only(name: bytes) -> None:
    assert pithos_dir(name) is None


def test_places_are_in_the_order_of_v04_and_the_one_of_v03_is_last() -> None:
    assert placements(DIGITS) == [
        (Placement.PITHOS, (b"01", b"23", b"45")),
        (Placement.V04, sha256_dir(DIGITS)),
        (Placement.V03, (b"78", b"9a", b"bc")),
    ]
    assert placements(SHORT) == [(Placement.V04, sha256_dir(SHORT))]


# A share that the real v0.3.5 wrote, and the same files where v0.4.4 found them all.


def test_files_of_a_real_share_lie_where_v03_puts_them() -> None:
    strange = []
    for tree, directory, name in listed("v03-small.before.txt"):
        if tree.startswith(b"pithos/"):
            assert placement_of(name, directory) is Placement.PITHOS
            assert pithos_dir_of_v03(name) == directory
        elif placement_of(name, directory) is not Placement.V03:
            strange.append((directory, name))
    assert [(directory[:2], name) for directory, name in strange] == [((b"sh", b"rt"), SHORT)]


def test_lock_of_a_real_share_lies_where_v03_puts_its_own_name() -> None:
    listing = listed("v03-small.before.txt")
    locks = {name: directory for _, directory, name in listing if name.endswith(LOCK)}
    assert lock_name(SHORT) in locks
    assert locks == {name: v03_dir(name) for name in locks}


def test_objects_that_v04_found_lie_at_its_places() -> None:
    """All but what v0.3 alone uses: locks, the placeholder, the stray, the short name."""
    left = [
        name
        for _, directory, name in listed("v03-small.relocated.txt")
        if placement_of(name, directory) not in (Placement.V04, Placement.PITHOS)
    ]
    others = sorted(name for name in left if not name.endswith(LOCK))
    assert others == sorted([SHORT, b"archip_never-made-volume", ZERO_BLOCK])


def test_objects_of_a_real_share_have_v03s_names() -> None:
    volumes = [*json.loads((GOLDEN / "v03-small.volumes.json").read_text()), "shrt"]
    possible = {v03_data_name(volume.encode(), n) for volume in volumes for n in range(6)}
    found = {name for tree, _, name in listed("v03-small.before.txt") if tree == b"blocks"}
    objects = {name for name in found if is_v03_data(name)}
    assert found - objects == {ZERO_BLOCK}
    assert len(objects) == 6
    assert objects <= possible


def test_data_name_is_the_digest_of_the_whole_old_name() -> None:
    # echo -n archip_foobar_0 | sha256sum
    assert is_v03_data(v03_data_name(b"foobar", 0))
    assert not is_v03_data(v03_data_name(b"foobar", 0) + b"_hash")
    assert not is_v03_data(DIGITS)
    assert is_digest(DIGITS)
