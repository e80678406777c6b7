"""Entries are converted to v2 as v0.4 itself does, and both twins give the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipmigrate.backend import extensions
from archipmigrate.errors import BackendMissing
from archipmigrate.maps.format.codec import Codec, codec_of
from archipmigrate.maps.format.v1 import ENTRY, ZERO_DIGEST
from archipmigrate.maps.format.v2 import EntryV2, decode_entry_v2, encode_entry_v2
from tests.support.parity import extension, need_native
from tests.support.program import need

ZEROS = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
A = "26e04dff6e35ae37230e835db399545b55e331ea5ed5e2c65d534a32b05273d3"
B = "7e485fc048df85f62cb1ec17174072380519e3064a0510ec00daaa381a680942"
C = "71d00f404e92546cba0e69b27b13394af4592e4da22bf24c58a95ec3f4f45584"
NULS = "00" * 32
# Entries, and what mapperd made of them: flags and length, and the name as it is in ASCII.
MADE = {
    "flags": (
        1,
        [
            ("00" + A, "0040000000" + A),
            ("01" + B, "0347000000archip_" + B),
            ("02" + C, "0347000000archip_" + C),
            ("ff" + A, "0347000000archip_" + A),
        ],
    ),
    "zeros": (
        1,
        [
            ("00" + ZEROS, "0440000000" + ZEROS),
            ("01" + ZEROS, "0347000000archip_" + ZEROS),
            ("02" + ZEROS, "0347000000archip_" + ZEROS),
            ("00" + NULS, "0040000000" + NULS),
            ("01" + NULS, "0347000000archip_" + NULS),
        ],
    ),
    "pithos": (0, [(A, "0040000000" + A), (ZEROS, "0440000000" + ZEROS), (B, "0040000000" + B)]),
    "nothing": (1, []),
}


@pytest.fixture
def codec(backend: str) -> Codec:
    """Each codec in turn."""
    return codec_of(backend)


@pytest.mark.parametrize(("version", "pairs"), MADE.values(), ids=MADE)
def test_entries_become_what_v04_makes_of_them(
    codec: Codec, version: int, pairs: list[tuple[str, str]]
) -> None:
    block = codec.convert(version, bytes.fromhex("".join(entry for entry, _ in pairs)))
    made = [bytes.fromhex(line[:10]) + line[10:].encode() for _, line in pairs]
    assert block == b"".join(line.ljust(128, b"\0") for line in made)
    assert codec.check(block) == -1


# An entry as it is in a v1 map: often the digest of the zeros, and flags that are.
digests = st.binary(min_size=32, max_size=32) | st.sampled_from([ZERO_DIGEST, bytes(32)])
records = st.lists(st.tuples(st.integers(0, 255) | st.sampled_from([0, 1]), digests), max_size=40)


@settings(deadline=None)
@given(records)
def test_v2_entries_give_back_the_older_ones(records: list[tuple[int, bytes]]) -> None:
    for name in codecs_there():
        block = codec_of(name).convert(1, b"".join(ENTRY.pack(*record) for record in records))
        assert len(block) == 128 * len(records)
        for at, (flag, digest) in enumerate(records):
            entry = decode_entry_v2(block[128 * at : 128 * at + 128])
            assert entry.name == (b"archip_" if flag else b"") + digest.hex().encode()
            zero = digest == ZERO_DIGEST and not flag
            assert entry.flags == (3 if flag else 4 if zero else 0)
            assert encode_entry_v2(entry) == block[128 * at : 128 * at + 128]
        plain = b"".join(ENTRY.pack(0, digest) for _, digest in records)
        bare = b"".join(digest for _, digest in records)
        assert codec_of(name).convert(0, bare) == codec_of(name).convert(1, plain)


@settings(deadline=None)
@given(st.integers(0, 1), st.binary(max_size=400))
def test_twins_convert_alike_whatever_the_bytes(version: int, entries: bytes) -> None:
    need_native()
    size = 32 + version
    entries = entries[: len(entries) - len(entries) % size]
    converted = codec_of("native").convert(version, entries)
    assert converted == codec_of("python").convert(version, entries)


lengths = st.integers(0, 124) | st.sampled_from([255, 256, 1 << 16, 1 << 24, 2**32 - 1])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 255), lengths), max_size=20))
def test_check_finds_the_first_name_that_is_too_long(entries: list[tuple[int, int]]) -> None:
    block = b"".join(
        bytes([flags]) + length.to_bytes(4, "little") + b"x" * 123 for flags, length in entries
    )
    wrong = [at for at, (_, length) in enumerate(entries) if length > 123]
    for name in codecs_there():
        assert codec_of(name).check(block) == (wrong[0] if wrong else -1)


@pytest.mark.parametrize("count", [1, 4096, 32768])
def test_check_reads_a_block_to_its_end(codec: Codec, count: int) -> None:
    block = bytearray(encode_entry_v2(EntryV2(4, ZEROS.encode())) * count)
    assert codec.check(bytes(block)) == -1
    for at in (1, 2, 3, 4):
        block[-128 + at] ^= 0x80
        assert codec.check(bytes(block)) == count - 1
        block[-128 + at] ^= 0x80


@pytest.mark.parametrize(("version", "size"), [(0, 32), (1, 33)])
def test_entries_are_refused_unless_whole(codec: Codec, version: int, size: int) -> None:
    for length in (1, size - 1, size + 1, 5 * size - 1):
        with pytest.raises(ValueError, match=f"{length} bytes are no entries of {size} bytes"):
            codec.convert(version, bytes(length))
    for length in (1, 127, 129, 256 + 5):
        with pytest.raises(ValueError, match=f"{length} bytes are no entries of 128 bytes"):
            codec.check(bytes(length))


@pytest.mark.parametrize("version", [-1, 2, 3])
def test_entries_of_other_versions_are_refused(codec: Codec, version: int) -> None:
    with pytest.raises(ValueError, match=f"entries of version {version}, not 0 or 1"):
        codec.convert(version, b"")


def test_extension_refuses_what_its_caller_lets_through() -> None:
    need_native()
    for version, length in ((-1, 0), (2, 0), (2, 33), (0, 33), (1, 32)):
        with pytest.raises(ValueError, match="malformed"):
            extension.convert_entries(version, bytes(length))
    with pytest.raises(ValueError, match="malformed"):
        extension.check_entries(bytes(100))


def test_codec_is_the_one_of_the_backend(backend: str) -> None:
    assert codec_of(backend).name == backend
    assert codec_of("auto").name == codecs_there()[0]


def test_codec_in_c_is_a_demand_where_it_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "BUILT", False)
    assert codec_of("auto").name == codec_of("python").name == "python"
    with pytest.raises(BackendMissing):
        codec_of("native")


def codecs_there() -> list[str]:
    """Return the names of the codecs, the preferred one first."""
    return ["native", "python"] if extensions.BUILT else ["python"]


# -- the C code alone, with every access checked


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Compile the driver; return the command."""
    program = tmp_path_factory.mktemp("fuzz") / "fuzz_mapfile"
    tests = Path(__file__).parents[1]
    native = tests.parent / "native"
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{native}"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [tests / "fuzz" / "fuzz_mapfile.c", native / "mapfile" / "entries.c"]
    subprocess.run([need("gcc"), *flags, "-o", program, *sources], check=True)
    # The sanitizer must be loaded first; to find leaks it needs rights that not all have.
    return ["env", "-u", "LD_PRELOAD", "ASAN_OPTIONS=detect_leaks=0", str(program)]


def run_fuzz(command: list[str], *words: str) -> tuple[int, str]:
    """Run it; return its status and its output."""
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_c_code_keeps_inside_its_buffers_whatever_is_in_them(fuzz: list[str]) -> None:
    assert run_fuzz(fuzz, "100000", "1") == (0, "")


@pytest.mark.parametrize("what", ["entries", "to", "block"])
def test_sanitizer_sees_a_byte_too_many(fuzz: list[str], what: str) -> None:
    status, said = run_fuzz(fuzz, what)
    assert status != 0
    assert "heap-buffer-overflow" in said
