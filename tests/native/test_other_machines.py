"""The C files where a long has 32 bits, and where numbers are big-endian: as the Python codecs."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from archipmigrate.maps.format import v1
from archipmigrate.maps.format.codec import PythonCodec
from archipmigrate.packed.changes import CHANGE, ENTER, HEADER, ChangeWriter, Flag, Kind
from archipmigrate.packed.groups import GROUP, Group, Hint, pack_groups
from archipmigrate.packed.known import pack_came
from archipmigrate.policy import NO_ID
from tests.support.program import need

ROOT = Path(__file__).parents[2]
SOURCES = [
    Path(__file__).with_name("show_packed.c"),
    *(ROOT / "native" / "core").glob("*.c"),
    *(ROOT / "native" / "mapfile").glob("*.c"),
]
WIDE = re.findall(r'\("(_\w+_BITS)", "64"\)', (ROOT / "setup.py").read_text())
INODE = 0xFEDC_BA98_7654_3210
GID = 0x89AB_CDEF
LONG = 0xFFFF_FFFF  # more than any buffer has


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of machine whose programs run here if optional packages are installed."""

    name: str
    compiler: Sequence[str]
    runner: Sequence[str]
    packages: str


# Headers of the kernel are the same for both: without gcc-multilib, no link leads to them.
_HEADERS = f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
MACHINES = [
    Machine("this", ["gcc"], [], ""),
    Machine("32-bit", ["gcc", "-m32", "-idirafter", _HEADERS], [], "gcc-12-multilib"),
    Machine(
        "big-endian",
        ["s390x-linux-gnu-gcc", "-static"],
        ["qemu-s390x"],
        "gcc-s390x-linux-gnu, libc6-dev-s390x-cross, qemu-user",
    ),
]

Show = Callable[..., list[str]]


@pytest.fixture(scope="module", params=MACHINES, ids=lambda machine: machine.name)
def show(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Show:
    """Call with what show_packed.c takes: the lines that it prints."""
    machine: Machine = request.param
    directory = tmp_path_factory.mktemp(machine.name)
    if machine.packages:
        _skip_without(machine, directory)
    else:
        need("gcc")
    program = directory / "show_packed"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/native"]
    flags += [f"-D{macro}=64" for macro in WIDE]
    subprocess.run([*machine.compiler, *flags, "-o", program, *SOURCES], check=True)

    def run(*arguments: object) -> list[str]:
        words = [*machine.runner, str(program), *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done
        return done.stdout.splitlines()

    return run


def _skip_without(machine: Machine, directory: Path) -> None:
    """Skip what cannot be built and run here, in CI too: no package of its own is needed."""
    source, program = directory / "empty.c", directory / "empty"
    source.write_text("#include <errno.h>\nint main(void) { return 0; }\n")
    try:
        subprocess.run([*machine.compiler, "-o", program, source], check=True, capture_output=True)
        subprocess.run([*machine.runner, program], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip(f"optional: needs {machine.packages}")


@pytest.mark.parametrize("uid", [NO_ID, 7])
def test_changes_have_the_same_bytes_and_values(show: Show, uid: int) -> None:
    writer = ChangeWriter(GID, uid, bounded=True)
    writer.enter(b"a/b", INODE)
    writer.change(b"file", Flag.LINKED, 0o100644, 0o100664, GID, 1, INODE + 1)
    written = (3 << 30, -2)
    writer.change(b"\xff" * 255, Flag.SETID, 0o104755, 0o100775, 2, GID, 3, written)
    writer.enter(b"below", 4)
    writer.change(b"x", 0, 0o100600, 0o100660, 5, 6, 7)
    writer.leave()
    writer.leave((0o40755, 0o42775, 8, 9))
    changes = writer.finish()
    assert show("changes", changes.hex()) == [
        f"1 {uid} {GID} 4",
        f"enter {INODE} {b'a/b'.hex()}",
        f"change 2 {0o100644} {0o100664} {GID} 1 {INODE + 1} 0 0 {b'file'.hex()}",
        f"change 1 {0o104755} {0o100775} 2 {GID} 3 {3 << 30} -2 {'ff' * 255}",
        f"enter 4 {b'below'.hex()}",
        f"change 0 {0o100600} {0o100660} 5 6 7 0 0 {b'x'.hex()}",
        "leave",
        f"change 0 {0o40755} {0o42775} 8 9 {INODE} 0 0 ",
        changes.hex(),
    ]


def test_groups_have_the_same_bytes_and_values(show: Show) -> None:
    groups = pack_groups(
        [
            Group(b"", INODE, ((Hint.SELF, b""),)),
            Group(b"a/" + b"d" * 255, 1, ((Hint.ENTRY, b"file"), (Hint.DIRECTORY, b"n" * 255))),
            Group(b"a/b", 0, ((Hint.WALK, b""),)),
        ]
    )
    assert show("groups", groups.hex()) == [
        f"group {INODE} ",
        "s ",
        f"group 1 {(b'a/' + b'd' * 255).hex()}",
        f"e {b'file'.hex()}",
        f"d {b'n'.hex() * 255}",
        f"group 0 {b'a/b'.hex()}",
        "w ",
        groups.hex(),
    ]


@pytest.mark.parametrize(
    ("what", "packed"),
    [
        ("changes", HEADER.pack(2, False, 0) + b"cut"),
        ("changes", HEADER.pack(2, False, 0) + b"\xff" * 4),
        ("changes", HEADER.pack(1, False, 0) + ENTER.pack(Kind.ENTER, LONG, 1) + b"name"),
        (
            "changes",
            HEADER.pack(1, False, 0)
            + ENTER.pack(Kind.ENTER, 0, 1)
            + CHANGE.pack(Kind.CHANGE, Flag.SETID, 0xFFFF, 0, 0, 0, 0, 1),
        ),
        ("groups", GROUP.pack(LONG, 0, 1, 0)),
        ("groups", GROUP.pack(0, LONG, 1, 0) + b"name"),
        ("groups", GROUP.pack(0, 1, 1, LONG) + b"name"),
        ("groups", GROUP.pack(0, LONG, 1, 2) + b"name"),
    ],
)
def test_lengths_beyond_the_end_or_no_owner_are_refused(
    show: Show, what: str, packed: bytes
) -> None:
    assert show(what, packed.hex()) == ["EINVAL"]


def test_what_is_known_of_changes_has_the_same_values(show: Show) -> None:
    came = pack_came([(2, 0o40750, 7, GID), (0, 0o100644, NO_ID, 1)])
    identities = struct.pack("<3Q", INODE, 0, 2)
    assert show("known", came.hex(), identities.hex()) == [
        f"{INODE} {0o100644} {NO_ID} 1",
        "0 0 0 0",
        f"2 {0o40750} 7 {GID}",
    ]


def test_map_entries_are_converted_to_the_same_bytes(show: Show) -> None:
    digests = bytes(range(32)), bytes(range(224, 256)), v1.ZERO_DIGEST
    v0_entries = b"".join(digests)
    v1_entries = b"".join(v1.ENTRY.pack(flag, digest) for digest in digests for flag in (0, 1, 255))
    for version, entries in enumerate((v0_entries, v1_entries)):
        converted = PythonCodec().convert(version, entries)
        assert show("convert", version, entries.hex()) == [converted.hex()]


@pytest.mark.parametrize("length", [124, 1 << 8, 1 << 16, 1 << 24, 1 << 31])
def test_map_entry_that_is_too_long_is_found(show: Show, length: int) -> None:
    good, bad = (struct.pack("<BI123x", 0, number) for number in (123, length))
    assert PythonCodec().check(good + bad) == 1
    assert show("check", (good + bad).hex()) == ["1"]


def test_status_of_a_file_above_2_gib_written_after_2038_is_known(
    show: Show, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 3 << 30)
    os.utime(path, ns=(0, 4_102_444_800_123_456_789))  # in 2100; a filesystem may not go so far
    mtime = path.stat().st_mtime_ns
    assert show("status", tmp_path, "large") == [f"{3 << 30} {mtime}"] * 4
