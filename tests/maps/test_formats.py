"""Headers and entries of maps as v0.4 itself wrote them, those that are refused, sizes of v0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.maps.format import v1, v2
from archipmigrate.maps.format.v0 import FitV0
from archipmigrate.maps.format.v1 import OBJECT_SIZE, decode_header_v1
from archipmigrate.maps.format.v2 import (
    EntryFlag,
    EntryV2,
    HeaderV2,
    MapFlag,
    block_name,
    decode_entry_v2,
    decode_header_v2,
    encode_entry_v2,
    encode_header_v2,
)

MIB = 1 << 20
DIGEST = bytes.fromhex("26e04dff6e35ae37230e835db399545b55e331ea5ed5e2c65d534a32b05273d3")
# Headers as mapperd wrote them, and what they say.
WRITTEN = {
    "one object": (
        "414d462e 00000002 0000000000400000 00400000 00000000 0000000000000001",
        HeaderV2(4 * MIB, epoch=1),
    ),
    "part of an object": (
        "414d462e 00000002 0000000000c03039 00400000 00000000 0000000000000001",
        HeaderV2(12 * MIB + 12345, epoch=1),
    ),
    "in place": (
        "414d462e 00000002 0000000000c00000 00400000 00000000 0000000000000000",
        HeaderV2(12 * MIB),
    ),
    "read only": (
        "414d462e 00000002 0000000000800000 00400000 00000001 0000000000000005",
        HeaderV2(8 * MIB, flags=MapFlag.READONLY, epoch=5),
    ),
    "empty": (
        "414d462e 00000002 0000000000000000 00400000 00000000 0000000000000001",
        HeaderV2(0, epoch=1),
    ),
}

sizes = st.integers(0, 2**64 - 1)
headers = st.builds(
    HeaderV2,
    sizes,
    st.integers(8, 31).map(lambda power: 1 << power),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)
entries = st.builds(EntryV2, st.integers(0, 255), st.binary(max_size=123))


# -- v1


def test_v1_header_gives_the_size_whatever_follows() -> None:
    assert decode_header_v1(bytes.fromhex("01000000 3930c00000000000")) == 12 * MIB + 12345
    assert decode_header_v1(v1.encode_v1(1, [v1.EntryV1(1, DIGEST)])) == 1


@given(sizes, st.binary(max_size=9))
def test_v1_header_reads_back(size: int, more: bytes) -> None:
    assert decode_header_v1(v1.HEADER.pack(1, size) + more) == size


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is shorter than a header: 0 bytes of 12"),
        (v1.HEADER.pack(1, 7)[:-1], "is shorter than a header: 11 bytes of 12"),
        (v1.HEADER.pack(0, 7), "version 0, not 1"),
        (b"\0\0\0\1" + bytes(8), "version 16777216, not 1"),
    ],
)
def test_v1_header_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        decode_header_v1(raw)


# -- v2


@pytest.mark.parametrize(("digits", "header"), WRITTEN.values(), ids=WRITTEN)
def test_v2_header_is_what_v04_writes(digits: str, header: HeaderV2) -> None:
    raw = bytes.fromhex(digits)
    assert encode_header_v2(header) == raw
    assert decode_header_v2(raw) == header
    assert decode_header_v2(raw + bytes(480)) == header


@given(headers)
def test_v2_header_reads_back(header: HeaderV2) -> None:
    raw = encode_header_v2(header)
    assert len(raw) == v2.HEADER_SIZE
    assert decode_header_v2(raw) == header


GOOD = encode_header_v2(HeaderV2(8 * MIB, epoch=1))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "is shorter than a header: 0 bytes of 32"),
        (GOOD[:-1], "is shorter than a header: 31 bytes of 32"),
        (b".FMA" + GOOD[4:], r"no map of version 2: signature b'\.FMA'"),
        (bytes(32), r"no map of version 2: signature b'\\x00\\x00\\x00\\x00'"),
        (GOOD[:7] + b"\3" + GOOD[8:], "version 3, not 2"),
        (GOOD[:7] + b"\0" + GOOD[8:], "version 0, not 2"),
        (GOOD[:16] + bytes(4) + GOOD[20:], "block size 0 is no power of two above 128"),
        (GOOD[:18] + b"\0\x80" + GOOD[20:], "block size 4194432 is no power of two above 128"),
        (GOOD[:16] + b"\0\0\0\x80" + GOOD[20:], "block size 128 is no power of two above 128"),
    ],
)
def test_v2_header_is_refused_with_a_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        decode_header_v2(raw)


@given(
    st.binary(max_size=40)
    | st.builds(bytes.__add__, st.sampled_from([GOOD[:4], GOOD[:8], GOOD[:16]]), st.binary())
)
def test_headers_are_read_or_refused_whatever_the_bytes(raw: bytes) -> None:
    for decode in (decode_header_v1, decode_header_v2):
        try:
            decode(raw)
        except ValueError as error:
            assert str(error)  # noqa: PT017 -- none at all is as good


def test_v2_header_keeps_unknown_flags() -> None:
    header = decode_header_v2(GOOD[:20] + b"\x80\0\0\6" + GOOD[24:])
    assert header.flags == 0x80000006
    assert header.is_deleted
    assert not HeaderV2(0, flags=MapFlag.READONLY).is_deleted


@pytest.mark.parametrize(
    ("size", "objects", "lengths"),
    [
        (0, 0, []),
        (1, 1, [128]),
        (4 * MIB, 1, [128]),
        (4 * MIB + 1, 2, [256]),
        (4097 * 4 * MIB, 4097, [524416]),
        (32768 * 4 * MIB, 32768, [4194304]),
        (32768 * 4 * MIB + 1, 32769, [4194304, 128]),
        (3 * 32768 * 4 * MIB - 4 * MIB, 98303, [4194304, 4194304, 4194176]),
    ],
)
def test_v2_blocks_are_as_long_as_they_need_to_be(
    size: int, objects: int, lengths: list[int]
) -> None:
    header = HeaderV2(size)
    assert header.objects == objects
    assert header.entries_per_block == v2.BLOCK_ENTRIES == 32768
    assert header.blocks == len(lengths)
    assert [header.block_length(number) for number in range(header.blocks + 2)] == [*lengths, 0, 0]


@given(headers.filter(lambda header: header.size < header.block_size << 12))
def test_v2_blocks_hold_all_entries(header: HeaderV2) -> None:
    lengths = [header.block_length(number) for number in range(header.blocks)]
    assert sum(lengths) == header.objects * 128
    assert all(length == header.block_size for length in lengths[:-1])
    assert (header.objects - 1) * header.block_size < max(header.size, 1)
    assert header.objects * header.block_size >= header.size


def test_v2_block_names_have_sixteen_digits() -> None:
    assert block_name(b"foobar", 0) == b"foobar_0000000000000000"
    assert block_name(b"\xff", 0xABC) == b"\xff_0000000000000abc"


def test_v2_entry_is_what_v04_writes() -> None:
    raw = bytes.fromhex("03 47000000") + b"archip_" + DIGEST.hex().encode() + bytes(52)
    entry = EntryV2(EntryFlag.WRITABLE | EntryFlag.ARCHIP, b"archip_" + DIGEST.hex().encode())
    assert encode_entry_v2(entry) == raw
    assert decode_entry_v2(raw) == entry


@given(entries)
def test_v2_entry_reads_back(entry: EntryV2) -> None:
    raw = encode_entry_v2(entry)
    assert len(raw) == v2.ENTRY_SIZE
    assert decode_entry_v2(raw) == entry


@pytest.mark.parametrize("raw", [b"", bytes(127), bytes(129)])
def test_v2_entry_is_refused_unless_whole(raw: bytes) -> None:
    with pytest.raises(ValueError, match="an entry has 128 bytes"):
        decode_entry_v2(raw)


@pytest.mark.parametrize("length", ["7c000000", "00010000", "00000100", "00000001", "ffffffff"])
def test_v2_entry_is_refused_if_its_name_is_too_long(length: str) -> None:
    with pytest.raises(ValueError, match="longer than 123"):
        decode_entry_v2(b"\3" + bytes.fromhex(length) + bytes(123))
    with pytest.raises(ValueError, match="124 bytes is longer than 123"):
        encode_entry_v2(EntryV2(0, b"x" * 124))


# -- v0


def fits(content: bytes, size: int) -> bool:
    """Whether a Pithos map is that of a volume of *size* bytes, the slow way."""
    count = -(-size // OBJECT_SIZE)
    digests = [content[at : at + 32] for at in range(0, len(content), 32)]
    first = next((i for i, digest in enumerate(digests) if not digest.strip(b"\0")), len(digests))
    whole = all(len(digest) == 32 for digest in digests[:first])
    return whole and first == count and not b"".join(digests[first:]).strip(b"\0")


def fed(content: bytes, *cuts: int) -> FitV0:
    """Read a map in chunks that end at *cuts*."""
    fit = FitV0()
    for start, end in zip((0, *sorted(cuts)), (*sorted(cuts), len(content)), strict=True):
        fit.feed(content[start:end])
    return fit


pieces = st.sampled_from(
    [DIGEST, bytes(32), bytes(31), bytes(1), b"\1", b"\1" + bytes(31), bytes(31) + b"\1"]
)
contents = st.lists(pieces, max_size=8).map(b"".join)


@given(contents, st.data())
def test_v0_fit_is_the_same_in_any_chunks(content: bytes, draws: st.DataObject) -> None:
    cuts = draws.draw(st.lists(st.integers(0, len(content)), max_size=6))
    fit = fed(content, *cuts)
    for count in range(len(content) // 32 + 2):
        for size in (count * OBJECT_SIZE, count * OBJECT_SIZE + 1):
            assert (fit.misfit(size) is None) == fits(content, size)


@given(st.integers(0, 3).map(lambda count: bytes(32 * count)), st.integers(0, 31))
def test_v0_padding_is_nothing_but_nuls(nuls: bytes, tail: int) -> None:
    content = DIGEST * 2 + nuls + bytes(tail)
    assert fed(content).misfit(2 * OBJECT_SIZE) is None
    assert fed(content + b"\1").misfit(2 * OBJECT_SIZE)


@pytest.mark.parametrize(
    ("content", "size", "reason"),
    [
        (b"", 0, None),
        (b"", 1, "0 digests, not the 1 of 1 bytes"),
        (b"", -1, "a size of -1 bytes"),
        (DIGEST, 0, "1 digests, not the 0 of 0 bytes"),
        (DIGEST * 5, 5 * OBJECT_SIZE - 100, None),
        (DIGEST * 5, 5 * OBJECT_SIZE + 1, "5 digests, not the 6 of 20971521 bytes"),
        (DIGEST * 3 + bytes(416), 3 * OBJECT_SIZE, None),
        (
            DIGEST + bytes(32) + DIGEST,
            3 * OBJECT_SIZE,
            "more than NULs after the first 1 digests",
        ),
        (DIGEST * 3 + DIGEST[:16], 3 * OBJECT_SIZE, "a part of a digest after the first 3"),
        (DIGEST * 3 + DIGEST[:16], 4 * OBJECT_SIZE, "a part of a digest after the first 3"),
    ],
)
def test_v0_misfit_has_a_reason(content: bytes, size: int, reason: str | None) -> None:
    assert fed(content).misfit(size) == reason


def test_v0_fit_of_many_chunks_counts_every_digest() -> None:
    fit = FitV0()
    chunk = (DIGEST[:1] + bytes(31)) * (MIB // 32)
    for _ in range(16):
        fit.feed(chunk)
    assert fit.digests == 16 * MIB // 32
    assert fit.misfit(fit.digests * OBJECT_SIZE) is None
    fit.feed(bytes(MIB))
    assert fit.misfit(fit.digests * OBJECT_SIZE) is None
