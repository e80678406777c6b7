"""Whose lock a file is, and whether somebody may hold it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from archipmigrate.layout.placement import sha256_dir
from archipmigrate.locks.classify import YOUNG, judge
from archipmigrate.locks.lock import Kind, Lock, Root, pack_locks, split_path, unpack_locks

NOW = 2 * 10**18
OURS = b"archipmigrate_node1_mapfiles-1"
RUNS = {OURS: "", b"archipmigrate_node1_mapfiles-2": "it left volumes half done"}
HOLDER = b"node1_1002"


def lock(name: bytes, content: bytes = b"", *, place: str = "locks", mode: int = 0o660) -> Lock:
    """Return a lock in the lock directory, or below the maps: `v04`, or a path."""
    root = Root.LOCKS if place == "locks" else Root.MAPS
    paths = {"locks": b"", "v04": b"/".join(sha256_dir(name))}
    directory = paths.get(place, place.encode())
    return Lock(root, directory, name, 1, mode, 0, 0, 0, content, len(content))


@pytest.mark.parametrize("place", ["locks", "v04"])
@pytest.mark.parametrize(
    ("content", "kind", "free"),
    [
        (HOLDER, Kind.HELD, False),
        (HOLDER.ljust(512, b"\0"), Kind.HELD, False),
        (OURS, Kind.OURS, True),
        (OURS + b"0", Kind.OURS, False),  # a run whose journal is not here
        (b"archipmigrate_node1_mapfiles-2", Kind.OURS, False),
        (b"\0" * 512, Kind.ODD, False),
        (b"", Kind.ODD, False),
        (b"x" * 2000, Kind.ODD, False),
    ],
)
def test_lock_where_v04_takes_it_is_its_holders(
    place: str, content: bytes, kind: Kind, free: bool
) -> None:
    verdict = judge(lock(b"foobar_lock", content, place=place), RUNS, NOW)
    assert (verdict.kind, verdict.is_free) == (kind, free)
    if kind in (Kind.HELD, Kind.OURS):
        assert verdict.holder == content.rstrip(b"\0")
    if not free and kind is Kind.OURS:
        assert verdict.note


@pytest.mark.parametrize(
    ("name", "place", "mode", "kind"),
    [
        (b"archip_foobar_lock", "fo/ob/ar", 0o700, Kind.V03),
        (b"archip_foobar_lock", "fo/ob/ar", 0o770, Kind.V03),  # after perms
        (b"archip_abc_lock", "ab/c_/lo", 0o700, Kind.V03),
        (b"archip_ab..cdef_lock", "cd", 0o700, Kind.V03),
        (b"archip_foobar_lock", "v04", 0o700, Kind.V03),
        (b"archip_foobar_lock", "locks", 0o700, Kind.V03),
        (b"archip_foobar_lock", "fo/ob/ar", 0o600, Kind.ODD),
        (b"archip_foobar_lock", "fo/ob/ar", 0o4700, Kind.ODD),
        (b"archip_foobar_lock", "fo/ob/xx", 0o700, Kind.ODD),
    ],
)
def test_lock_of_v03_is_empty_and_executable_and_at_a_place_of_its_own(
    name: bytes, place: str, mode: int, kind: Kind
) -> None:
    verdict = judge(lock(name, place=place, mode=mode), RUNS, NOW)
    assert (verdict.kind, verdict.is_free) == (kind, kind is Kind.V03)


def test_lock_with_a_holder_where_v03_has_its_own_is_odd() -> None:
    assert judge(lock(b"archip_foobar_lock", HOLDER, place="fo/ob/ar"), RUNS, NOW).kind is Kind.ODD


@pytest.mark.parametrize("content", [b"", HOLDER[:3], HOLDER, HOLDER.ljust(512, b"\0")])
def test_temporary_is_stale_after_an_hour(content: bytes) -> None:
    part = lock(b"foobar_lock" + HOLDER + b"_aa", content)
    young = replace(part, mtime=NOW - (YOUNG - 1) * 10**9)
    old = replace(part, mtime=NOW - YOUNG * 10**9)
    future = replace(part, mtime=NOW + 10**18)
    found = [judge(each, RUNS, NOW) for each in (young, old, future)]
    assert [verdict.kind for verdict in found] == [Kind.TEMPORARY] * 3
    assert [verdict.is_free for verdict in found] == [False, True, False]
    assert {verdict.holder for verdict in found} == {HOLDER}


def test_map_that_is_called_like_a_temporary_is_none() -> None:
    name = b"foobar_lockers_aa"
    assert judge(lock(name, b"AMFS and more", place="v04"), RUNS, NOW).kind is Kind.ODD
    assert judge(lock(name, b"something else"), RUNS, NOW).kind is Kind.ODD


def test_temporary_of_a_run_that_needs_it_is_kept_whatever_its_age() -> None:
    name = b"foobar_lockarchipmigrate_node1_mapfiles-2_aa"
    verdict = judge(lock(name), RUNS, NOW)
    assert (verdict.kind, verdict.is_free, verdict.is_needed) == (Kind.TEMPORARY, False, True)


@pytest.mark.parametrize("name", [b"notes", b"foobar", b"foobar_0000000000000000"])
def test_what_is_no_lock_in_the_lock_directory_is_odd(name: bytes) -> None:
    assert judge(lock(name, HOLDER), RUNS, NOW).kind is Kind.ODD


def test_locks_are_packed_and_unpacked() -> None:
    locks = [
        (lock(b"foobar_lock", b"\0\xff" * 256), Kind.HELD),
        (lock(b"archip_foobar_lock", place="fo/ob/ar", mode=0o700), Kind.V03),
    ]
    packed = pack_locks(locks)
    assert list(unpack_locks(packed)) == locks
    assert [split_path(item.path)[0] for item, _ in locks] == [Root.LOCKS, Root.MAPS]
    for end in range(1, len(packed)):
        if end != len(pack_locks(locks[:1])):
            with pytest.raises(ValueError, match="cut off"):
                list(unpack_locks(packed[:end]))
