"""Units and pre-images in the journals of earlier runs can be read, and new ones are the same."""

from __future__ import annotations

import pytest

from archipmigrate.maps.blocker.preimage import (
    OldFile,
    VolumePreimage,
    pack_preimages,
    unpack_preimages,
)
from archipmigrate.maps.format.v2 import HeaderV2, encode_header_v2
from archipmigrate.maps.format.verdict import Plan
from archipmigrate.maps.jobs.units import (
    is_volumes,
    pack_volumes,
    split,
    unpack_volumes,
    volumes_unit,
)
from archipmigrate.maps.survey.judge import CHECK
from archipmigrate.packed.groups import Group, pack_groups, split_unit, walk_unit, whole

# As version 0.1.0 wrote them.
VOLUMES = [
    (Plan.RENAME, b"vol0"),
    (Plan.IN_PLACE, b"vol1"),
    (Plan.FINISH, b"vol2"),
    (CHECK, b"vol3"),
    (Plan.NONE, b"\xff4"),
]
BODY = bytes(16) + b"\x1c\0\0\0R\x04vol0I\x04vol1F\x04vol2C\x04vol3N\x02\xff4"
OLD_MAP = OldFile(
    (b"fo", b"ob", b"\xffr"), b"archip_foobar", 7, 0o100640, 1, 2, 3, 177, [(0, 99)], "d1"
)
PREIMAGE = VolumePreimage(
    b"foobar",
    Plan.RENAME,
    1,
    encode_header_v2(HeaderV2(5 << 22, epoch=1)),
    b"\1" + bytes(31),
    [
        OldFile(
            (b"fo", b"ob", b"\xffr"), b"archip_foobar", 7, 0o100640, 1, 2, 3, 177, [(0, 99)], "d1"
        )
    ],
    [OldFile((b"aa", b"bb", b"cc"), b"foobar_0000000000000000", 8, 0o100660, 1, 2, 3, 9)],
)
PACKED = (
    b'{"volume": "foobar", "plan": "rename", "version": 1, "raw_header": '
    b'"414d462e00000002000000000140000000400000000000000000000000000001", "first": '
    b'"0100000000000000000000000000000000000000000000000000000000000000", "sources": '
    b'[{"place": ["fo", "ob", "\\udcffr"], "name": "archip_foobar", "inode": 7, "mode": 33184, '
    b'"uid": 1, "gid": 2, "mtime": 3, "length": 177, "pieces": [[0, 99]], "digest": "d1"}], '
    b'"replaced": [{"place": ["aa", "bb", "cc"], "name": "foobar_0000000000000000", "inode": 8, '
    b'"mode": 33200, "uid": 1, "gid": 2, "mtime": 3, "length": 9, "pieces": null, "digest": ""}]}\n'
)


def test_volumes_are_packed_as_they_always_were() -> None:
    assert pack_volumes(VOLUMES) == BODY
    assert unpack_volumes(BODY) == VOLUMES
    unit = volumes_unit(VOLUMES, 2)
    assert (unit.body, unit.entries, unit.retries) == (BODY, 5, 2)


def test_volumes_are_no_directories() -> None:
    assert is_volumes(BODY)
    long_path = Group(b"a" * 82, 0, ((ord("w"), b""),))
    for body in (b"", b"short", pack_groups([whole()]), pack_groups([whole(), whole(b"R\x04")]),
                 pack_groups([whole(b"aa/bb")]), pack_groups([long_path])):  # fmt: skip
        assert not is_volumes(body)
        with pytest.raises(ValueError, match="not a body of volumes"):
            unpack_volumes(body)


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"R", bytes(16) + b"\x03\0\0\0R\x09a"])
def test_malformed_volumes_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="volume"):
        unpack_volumes(body)


@pytest.mark.parametrize("parts", [1, 2, 4, 9])
def test_parts_of_a_unit_have_all_its_volumes(parts: int) -> None:
    cut = split(volumes_unit(VOLUMES, 1), parts)
    assert len(cut) == min(parts, len(VOLUMES))
    assert {part.retries for part in cut} == {1}
    assert sum(part.entries for part in cut) == len(VOLUMES)
    found = [volume for part in cut for volume in unpack_volumes(part.body)]
    assert sorted(found) == sorted(VOLUMES)


def test_unit_of_directories_is_split_as_groups_are() -> None:
    unit = walk_unit([whole(b"aa"), whole(b"bb")])
    assert split(unit, 2) == split_unit(unit, 2)


def test_preimages_are_packed_as_they_always_were() -> None:
    assert pack_preimages([PREIMAGE]) == PACKED
    assert unpack_preimages(PACKED * 2) == [PREIMAGE, PREIMAGE]
    assert (pack_preimages([]), unpack_preimages(b"")) == (b"", [])
