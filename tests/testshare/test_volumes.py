"""The sample share's volumes of other kinds: their maps, placements and locks."""

from __future__ import annotations

import csv
import hashlib
import stat
import struct
from pathlib import Path

import pytest

from archipmigrate.errors import UsageError
from archipmigrate.layout.placement import sha256_dir
from archipmigrate.maps.format.v0 import FitV0
from archipmigrate.testshare import Layout, MapPlacement, OtherVolumes, ShareSize, make_share
from tests.testshare.test_objects import contents, files_below, parsed_v1, run_command

MIB = 1 << 20
ZEROS = hashlib.sha256(b"").digest()
ALL = OtherVolumes(v1=2, v1_in_place=2, v0=2, v2=2, half_renamed=2, objects=9)


def made(
    tmp_path: Path, others: OtherVolumes, volumes: int = 0, layout: Layout = Layout.FILED
) -> Path:
    top = tmp_path / "share"
    make_share(str(top), objects=0, volumes=volumes, others=others, layout=layout)
    return top


def names(top: Path) -> list[str]:
    return [path.name for path in files_below(top / "maps")]


def place(path: Path, top: Path) -> list[str]:
    return list(path.relative_to(top / "maps").parts[:-1])


def v04_place(name: str) -> list[str]:
    return [part.decode() for part in sha256_dir(name.encode())]


def test_share_without_them_is_unchanged(tmp_path: Path) -> None:
    make_share(str(tmp_path / "share"), objects=50, volumes=5, seed=7)
    digest = hashlib.sha256()
    for path, content in sorted(contents(tmp_path / "share").items()):
        digest.update(repr((path, content)).encode())
    assert digest.hexdigest() == "6554d9604c68c1f7d9ceb76cf15b1f747099aa8cd8db2ab7fe9afa281ff2983a"


def test_volumes_of_all_kinds_are_added_to_the_others(tmp_path: Path) -> None:
    size = make_share(str(tmp_path / "share"), objects=5, volumes=3, others=ALL)
    found = [name for name in names(tmp_path / "share") if len(name) < 64]
    assert sorted(found) == sorted(
        [
            "archip_000000-half-renamed",
            "archip_000000-half-renamed_0000000000000000",
            "archip_000001-half-renamed",
            "archip_000001-half-renamed_0000000000000000",
            "archip_000000-v1",
            "archip_000001-v1",
            "000000-v1-in-place",
            "000001-v1-in-place",
            "000000-v2",
            "000000-v2_0000000000000000",
            "000001-v2",
            "000001-v2_0000000000000000",
            "archip_vol000000",
            "archip_vol000001",
            "archip_vol000002",
        ]
    )
    entries = [tmp_path / "share", *(tmp_path / "share").rglob("*")]
    files = sum(path.is_file() for path in entries)
    assert size == ShareSize(files, len(entries) - files, volumes=13)


def test_all_lie_where_v04_looks_for_them(tmp_path: Path) -> None:
    top = made(tmp_path, ALL)
    for path in files_below(top / "maps"):
        assert place(path, top) == v04_place(path.name)


@pytest.mark.parametrize("name", ["archip_000001-v1", "000001-v1-in-place"])
def test_v1_map_has_entries_of_every_kind(tmp_path: Path, name: str) -> None:
    top = made(tmp_path, OtherVolumes(v1=2, v1_in_place=2, objects=100))
    [path] = (top / "maps").rglob(name)
    size, entries = parsed_v1(path.read_bytes())
    assert len(entries) == 100
    assert 99 * 4 * MIB < size <= 100 * 4 * MIB
    assert {(flag, digest == ZEROS) for flag, digest in entries} == {
        (1, False),
        (0, False),
        (0, True),
    }


@pytest.mark.parametrize("prefix", ["", "archip_"], ids=["current", "half-renamed"])
def test_v2_map_has_a_header_and_blocks(tmp_path: Path, prefix: str) -> None:
    kind = OtherVolumes(half_renamed=1) if prefix else OtherVolumes(v2=1)
    top = made(tmp_path, kind)
    [header, block] = files_below(top / "maps")
    if header.stat().st_size != 32:
        header, block = block, header
    assert header.name == (f"{prefix}000000-half-renamed" if prefix else "000000-v2")
    assert block.name == f"{header.name}_0000000000000000"
    signature, version, size, block_size, flags, epoch = struct.unpack(
        ">4sIQIIQ", header.read_bytes()
    )
    assert (signature, version, block_size, flags, epoch) == (b"AMF.", 2, 4 * MIB, 0, 1)
    assert -(-size // (4 * MIB)) == 100
    raw = block.read_bytes()
    assert len(raw) == 100 * 128
    for at in range(0, len(raw), 128):
        flag, length = struct.unpack_from("<BI", raw, at)
        text = raw[at + 5 : at + 5 + length]
        assert raw[at + 5 + length : at + 128].strip(b"\0") == b""
        assert (flag, text[:7]) == (3, b"archip_") or flag == 4 * (text == ZEROS.hex().encode())


def test_v2_map_has_as_many_blocks_as_it_needs(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v2=1, objects=32769))
    sizes = {path.name: path.stat().st_size for path in files_below(top / "maps")}
    assert sizes == {
        "000000-v2": 32,
        "000000-v2_0000000000000000": 4 * MIB,
        "000000-v2_0000000000000001": 128,
    }


def test_v0_maps_have_their_sizes_in_csv(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v0=3, objects=10))
    with (top / "sizes.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["mapfile", "size"]
    sizes = {row[0]: row[1] for row in rows}
    assert sorted(sizes) == sorted(names(top))
    for path in files_below(top / "maps"):
        assert path.stat().st_size == 320
        fit = FitV0()
        fit.feed(path.read_bytes())
        assert fit.misfit(int(sizes[path.name])) is None
    assert stat.S_IMODE((top / "sizes.csv").stat().st_mode) == 0o600


def test_share_without_v0_maps_has_no_csv(tmp_path: Path) -> None:
    assert not (made(tmp_path, OtherVolumes(v1=1)) / "sizes.csv").exists()


def test_volumes_without_objects_are_empty(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v1=1, v0=1, v2=1, objects=0))
    sizes = sorted(path.stat().st_size for path in files_below(top / "maps"))
    assert sizes == [0, 12, 32]
    assert (top / "sizes.csv").read_text().endswith(",0\n")


# Placements


def test_v03_places_v1_maps_with_the_prefix_only(tmp_path: Path) -> None:
    top = made(
        tmp_path,
        OtherVolumes(v1=2, v1_in_place=1, v0=1, v2=1, placement=MapPlacement.V03),
        volumes=1,
    )
    places = {path.name: "/".join(place(path, top)) for path in files_below(top / "maps")}
    assert places.pop("archip_vol000000") == "vo/l0/00"
    assert places.pop("archip_000000-v1") == "00/00/00"
    assert places.pop("archip_000001-v1") == "00/00/01"
    assert places == {name: "/".join(v04_place(name)) for name in places}
    for path in (top / "maps").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_pithos_places_v0_maps_only(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v1=1, v0=3, placement=MapPlacement.PITHOS))
    for path in files_below(top / "maps"):
        is_v0 = len(path.name) == 64
        cut = [path.name[:2], path.name[2:4], path.name[4:6]]
        assert place(path, top) == (cut if is_v0 else v04_place(path.name))


@pytest.mark.parametrize("layout", [Layout.FLAT, Layout.DEEP])
def test_other_placements_need_the_filed_layout(tmp_path: Path, layout: Layout) -> None:
    with pytest.raises(ValueError, match="layout"):
        made(tmp_path, OtherVolumes(v1=1, placement=MapPlacement.V03), layout=layout)
    assert list(tmp_path.iterdir()) == []


# Locks


def locks_below(top: Path) -> dict[str, Path]:
    return {path.name: path for path in files_below(top) if path.name.endswith("_lock")}


def test_first_volumes_are_locked_by_another_host(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v1=2, v1_in_place=1, half_renamed=2, locks=4))
    locks = locks_below(top / "maps")
    assert sorted(locks) == [
        "000000-half-renamed_lock",
        "000000-v1-in-place_lock",
        "000000-v1_lock",
        "000001-v1_lock",
    ]
    for lock in locks.values():
        assert lock.read_bytes() == b"otherhost_1002"
        assert stat.S_IMODE(lock.stat().st_mode) == 0o660
        assert place(lock, top) == v04_place(lock.name)
    assert list((top / "locks").iterdir()) == []


def test_locks_lie_flat_in_the_lock_directory(tmp_path: Path) -> None:
    top = made(tmp_path, OtherVolumes(v1=1, v2=1, locks=2, lock_dir=True))
    assert sorted(path.name for path in (top / "locks").iterdir()) == [
        "000000-v1_lock",
        "000000-v2_lock",
    ]
    assert locks_below(top / "maps") == {}


# The same arguments, the same share


def test_same_seed_gives_the_same_volumes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_share(str(tmp_path / name), objects=0, volumes=0, seed=3, others=ALL)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_gives_other_maps(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_share(str(tmp_path / str(seed)), objects=0, volumes=0, seed=seed, others=ALL)
    maps = [
        {path.read_bytes() for path in files_below(tmp_path / seed / "maps")} for seed in ("1", "2")
    ]
    assert maps[0].isdisjoint(maps[1])


def test_volume_is_the_same_whatever_else_there_is(tmp_path: Path) -> None:
    make_share(str(tmp_path / "one"), objects=30, volumes=3, others=ALL)
    make_share(str(tmp_path / "two"), objects=0, volumes=0, others=OtherVolumes(v1=2, objects=9))
    for name in ("archip_000000-v1", "archip_000001-v1"):
        [one] = (tmp_path / "one").rglob(name)
        [two] = (tmp_path / "two").rglob(name)
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    "others",
    [
        OtherVolumes(v1=-1),
        OtherVolumes(v1=2, v0=-1),
        OtherVolumes(objects=-1),
        OtherVolumes(v1=1, locks=-1),
        OtherVolumes(v1=1, locks=2),
    ],
)
def test_nothing_is_made_when_a_number_is_out_of_range(
    tmp_path: Path, others: OtherVolumes
) -> None:
    with pytest.raises(ValueError, match=r"negative|more than"):
        made(tmp_path, others)
    assert list(tmp_path.iterdir()) == []


# The command


def test_command_makes_volumes_of_all_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = ["--v1=1", "--v1-in-place=1", "--v0=1", "--v2=1", "--half-renamed=1", "--locks=5"]
    share = str(tmp_path / "share")
    more = ["--map-objects=3", "--map-place=pithos", "--lock-dir", "--objects=0", "--volumes=2"]
    assert run_command(share, *counts, *more) == 0
    said = capsys.readouterr().out
    assert "(0 objects, 7 maps)" in said
    assert f"made {share}: {len(files_below(tmp_path / 'share'))} files" in said
    assert len(list((tmp_path / "share/locks").iterdir())) == 5
    [v0] = [path for path in files_below(tmp_path / "share/maps") if len(path.name) == 64]
    assert place(v0, tmp_path / "share")[0] == v0.name[:2]
    assert v0.stat().st_size == 3 * 32


def test_command_refuses_more_locks_than_volumes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 locks are more than the 0 volumes"):
        run_command(str(tmp_path / "share"), "--locks", "1")
