"""The sample share: its files, layouts and modes; the same seed gives the same share."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.cli import testshare as command
from archipmigrate.cli.parser import Parser
from archipmigrate.errors import FatalError, UsageError
from archipmigrate.layout.placement import sha256_dir
from archipmigrate.maps.format.v1 import ZERO_DIGEST, EntryV1, encode_v1
from archipmigrate.testshare import Layout, ShareSize, make_share

MIB = 1 << 20


@pytest.fixture(params=[0o000, 0o777], ids=["umask-000", "umask-777"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def files_below(top: Path) -> list[Path]:
    return sorted(path for path in top.rglob("*") if path.is_file())


def contents(top: Path) -> dict[str, tuple[int, bytes]]:
    """Return every entry's mode and every file's bytes, by path from *top*."""
    return {
        str(path.relative_to(top)): (
            path.stat().st_mode,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [top, *top.rglob("*")]
    }


def parsed_v1(content: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """Read size and (flag, digest) entries of a v1 map, without the code under test."""
    version, size = struct.unpack_from("<IQ", content)
    assert version == 1
    assert (len(content) - 12) % 33 == 0
    entries = [content[at : at + 33] for at in range(12, len(content), 33)]
    return size, [(entry[0], entry[1:]) for entry in entries]


def run_command(*arguments: str) -> int:
    parser = Parser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["testshare", *arguments])
    status = args.run(args)
    assert isinstance(status, int)
    return status


# Placement and the v1 format


def test_directory_is_the_start_of_sha256_of_the_whole_name() -> None:
    # echo -n archip_foobar | sha256sum
    assert sha256_dir(b"archip_foobar") == (b"70", b"36", b"e2")


def test_directory_has_as_many_levels_as_asked_for() -> None:
    assert sha256_dir(b"archip_foobar", 0) == ()
    assert len(sha256_dir(b"archip_foobar", 8)) == 8


def test_v1_header_is_packed_and_little_endian() -> None:
    assert encode_v1(0, []) == bytes.fromhex("01000000 0000000000000000")


def test_v1_entry_is_a_flag_byte_and_a_digest() -> None:
    content = encode_v1(5 * MIB, [EntryV1(1, b"\xab" * 32), EntryV1(0, ZERO_DIGEST)])
    assert content[:12] == bytes.fromhex("01000000 0000500000000000")
    assert content[12:45] == b"\x01" + b"\xab" * 32
    assert (
        content[45:].hex() == "00e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.mark.parametrize("size", [0, 4 * MIB, 8 * MIB + 1])
def test_v1_is_refused_when_entries_and_size_disagree(size: int) -> None:
    with pytest.raises(ValueError, match="2"):
        encode_v1(size, [EntryV1(0, ZERO_DIGEST)] * 2)


def test_v1_is_refused_when_a_digest_is_short() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        encode_v1(1, [EntryV1(0, ZERO_DIGEST[1:])])


# The share


@pytest.mark.parametrize("layout", Layout)
def test_share_holds_what_was_asked_for_in_every_layout(tmp_path: Path, layout: Layout) -> None:
    top = tmp_path / "share"
    size = make_share(str(top), objects=100, volumes=7, layout=layout)
    assert len(files_below(top / "blocks")) == 100
    assert len(files_below(top / "maps")) == 7
    assert list((top / "locks").iterdir()) == []
    directories = [path for path in [top, *top.rglob("*")] if path.is_dir()]
    assert size == ShareSize(files=107, directories=len(directories), volumes=7)


@pytest.mark.parametrize(
    ("layout", "levels"), [(Layout.FILED, 3), (Layout.FLAT, 0), (Layout.DEEP, 8)]
)
def test_files_lie_where_the_layout_says(tmp_path: Path, layout: Layout, levels: int) -> None:
    top = tmp_path / "share"
    make_share(str(top), objects=20, volumes=3, layout=layout)
    for tree in (top / "maps", top / "blocks"):
        for path in files_below(tree):
            place = [part.decode() for part in sha256_dir(path.name.encode(), levels)]
            assert list(path.relative_to(tree).parts) == [*place, path.name]


def test_modes_are_private_under_any_umask(tmp_path: Path, umask: None) -> None:
    top = tmp_path / "share"
    make_share(str(top), objects=20, volumes=3)
    for path in [top, *top.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


def test_modes_are_private_below_a_set_gid_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    make_share(str(tmp_path / "share"), objects=1, volumes=0)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "share").rglob("*")}
    assert modes == {0o700, 0o600}


def test_maps_refer_to_every_object_once_and_to_zero_blocks(tmp_path: Path) -> None:
    top = tmp_path / "share"
    make_share(str(top), objects=50, volumes=4)
    referred = []
    for path in files_below(top / "maps"):
        size, entries = parsed_v1(path.read_bytes())
        assert size == len(entries) * 4 * MIB
        assert (0, ZERO_DIGEST) in entries
        referred += [f"archip_{digest.hex()}" for flag, digest in entries if flag]
    assert sorted(referred) == sorted(path.name for path in files_below(top / "blocks"))


def test_names_are_those_of_volumes_that_can_be_upgraded(tmp_path: Path) -> None:
    make_share(str(tmp_path / "share"), objects=0, volumes=2)
    names = [path.name for path in files_below(tmp_path / "share")]
    assert sorted(names) == ["archip_vol000000", "archip_vol000001"]


def test_objects_hold_at_most_the_bytes_asked_for(tmp_path: Path) -> None:
    make_share(str(tmp_path / "some"), objects=60, volumes=0, object_bytes=5)
    sizes = {path.stat().st_size for path in files_below(tmp_path / "some")}
    assert sizes == {0, 1, 2, 3, 4, 5}
    make_share(str(tmp_path / "none"), objects=10, volumes=0, object_bytes=0)
    assert {path.stat().st_size for path in files_below(tmp_path / "none")} == {0}


def test_same_seed_gives_the_same_share(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_share(str(tmp_path / name), objects=30, volumes=3, seed=7)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_gives_other_objects(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_share(str(tmp_path / str(seed)), objects=30, volumes=0, seed=seed)
    one, two = ({path.name for path in files_below(tmp_path / seed)} for seed in ("1", "2"))
    assert one.isdisjoint(two)


def test_empty_directory_is_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_share(str(tmp_path), objects=1, volumes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocks", "locks", "maps"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("objects", "volumes", "object_bytes"),
    [(-1, 1, 1), (1, -1, 1), (1, 1, -1), (1, 1, 4 * MIB + 1)],
)
def test_nothing_is_made_when_a_number_is_out_of_range(
    tmp_path: Path, objects: int, volumes: int, object_bytes: int
) -> None:
    top = tmp_path / "share"
    with pytest.raises(ValueError, match=r"objects|bytes"):
        make_share(str(top), objects=objects, volumes=volumes, object_bytes=object_bytes)
    assert not top.exists()


# The command


def test_command_prints_the_sizes_and_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    share = f"{tmp_path}/my share"
    assert run_command(share, "--objects", "10", "--volumes", "2", "--layout", "flat") == 0
    assert capsys.readouterr().out == (
        f"made '{share}': 12 files (10 objects, 2 maps) in 4 directories; "
        f"next: archipmigrate perms '{share}' -n\n"
    )


def test_command_refuses_a_directory_that_is_not_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "precious").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        run_command(str(tmp_path))
    assert contents(tmp_path) == before


def test_command_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="Not a directory"):
        run_command(str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def test_command_fails_when_the_parent_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="No such file or directory"):
        run_command(str(tmp_path / "missing" / "share"))


def test_command_refuses_objects_larger_than_real_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="an object has"):
        run_command(str(tmp_path / "share"), "--object-bytes", str(4 * MIB + 1))


@pytest.mark.parametrize("number", ["-1", "1.5", "many", "²"])
def test_command_line_takes_only_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as left:
        run_command(str(tmp_path / "share"), f"--objects={number}")
    assert left.value.code == 2
    assert "--objects: give a number from 0 to 1,000,000,000, not" in capsys.readouterr().err
