"""The C backend does what the Python one does: the same trees, units and changes, for both."""

from __future__ import annotations

import errno
import os
import random
import resource
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archipmigrate.backend.python.scan as python_scan
from archipmigrate.backend.base import Backend, ScanOptions
from archipmigrate.backend.python.backend import PythonBackend
from archipmigrate.model import Known, Limits, Outcome, Tally, Verb
from archipmigrate.modes import read_modes
from archipmigrate.packed.changes import Flag, read_changes, with_flags
from archipmigrate.packed.groups import Group, Hint, walk_unit, whole
from archipmigrate.policy import GroupPolicy
from tests.support.parity import (
    ENDLESS,
    EVERYTHING,
    POLICY,
    Damage,
    Grower,
    Key,
    both,
    chain,
    extension,
    look,
    native,
    need_native,
    opened,
    small,
)
from tests.support.program import GID, attrs, drift, need

FEATURES = [(), ("openat2",), ("statx",), ("openat2", "fchmodat2", "statx", "listxattrat")]


@pytest.fixture(autouse=True)
def _built() -> None:
    need_native()


@pytest.fixture(params=FEATURES, ids=lambda absent: "-".join(("without", *absent)))
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that lack some of the newer calls, as far as C can be made to believe it."""
    for feature in request.param:
        monkeypatch.setitem(extension.FEATURES, feature, False)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories are wide when they have more than 8 names."""
    for module in (python_scan, native):
        monkeypatch.setattr(module, "WIDE", 8)
        monkeypatch.setattr(module, "CHUNKS", 3)


@pytest.fixture
def twins(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Make two directories alike, filled from a seed."""

    def make(seed: int) -> tuple[Path, Path]:
        paths = tmp_path / "python", tmp_path / "native"
        for path in paths:
            path.mkdir()
            Grower(seed).grow(path)
        return paths

    return make


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("seed", range(8))
def test_scan_finds_the_same_in_a_random_tree(seed: int, twins: Any, kernel: None) -> None:
    path, _ = twins(seed)
    for options in (
        EVERYTHING,
        ScanOptions(excludes=frozenset((b"skip3", b"plain7")), skip_links=True, xattrs=False),
        ScanOptions(cross=True),
    ):
        results = []
        for kind in both():
            with opened(path, kind) as backend:
                results.append(look(backend, options=options).result())
        assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("seed", range(20))
def test_scan_finds_the_same_in_small_pieces(seed: int, twins: Any, narrow: None) -> None:
    path, _ = twins(seed)
    results = []
    for kind in both():
        with opened(path, kind, descriptors=4) as backend:
            in_one = look(backend).result()
            assert look(backend, limits=small(seed)).result() == in_one
            results.append(in_one)
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("seed", range(6))
def test_scan_of_odd_units_is_the_same(seed: int, twins: Any, narrow: None) -> None:
    """Units as they come back: counted or not, names that went, moved or changed their type."""
    path, _ = twins(seed)
    rng = random.Random(seed)
    known = attrs(path)
    groups = []
    for directory in sorted(p for p, (mode, _, _) in known.items() if stat.S_ISDIR(mode)):
        names = [name for name in _names_in(known, directory) if rng.random() < 0.6]
        hinted = [(rng.choice((Hint.ENTRY, Hint.DIRECTORY)), name) for name in names]
        hinted += rng.choice(
            ([], [(Hint.ENTRY, b"gone")], [(Hint.DIRECTORY, b"gone"), (Hint.SELF, b"")])
        )
        inode = os.stat(os.fsencode(path) + b"/" + directory).st_ino
        if hinted:
            groups.append(Group(directory, rng.choice((0, inode, inode, 1)), tuple(hinted)))
    groups += [whole(b"no/such/directory"), whole(next(iter(known)))]
    if rng.random() < 0.5:
        rng.shuffle(groups)
    for counted in (False, True):
        unit = walk_unit(groups, counted=counted)
        results = []
        for kind in both():
            with opened(path, kind) as backend:
                seen = look(backend, unit)
                results.append(seen.result())
                tight = look(backend, unit, limits=small(seed))
                assert tight.records() == seen.records()
                if not counted:
                    assert tight.tally == seen.tally
        assert results[0] == results[1]


def _names_in(known: dict[bytes, Any], directory: bytes) -> list[bytes]:
    prefix = directory + b"/" if directory else b""
    inside = (p[len(prefix) :] for p in known if p.startswith(prefix) and p != directory)
    return sorted(name for name in inside if b"/" not in name)


def test_scan_counts_once_what_a_counted_directory_leaves_over(share: Path) -> None:
    for i in range(20):
        (share / f"f{i}").touch()
        (share / f"d{i}").mkdir()
    for kind in both():
        with opened(share, kind) as backend:
            unit = walk_unit([whole()], counted=True)
            seen = look(backend, unit, limits=lambda: Limits(60, 3, 100))
        assert (seen.tally.entries, seen.tally.files, seen.tally.directories) == (40, 20, 20)


def test_scan_reads_two_wide_directories_of_one_unit_to_the_end(share: Path, narrow: None) -> None:
    for name in "ab":
        (share / name).mkdir()
        for i in range(200):
            (share / name / f"file-with-a-longer-name-{i}").touch()
    results = []
    for kind in both():
        with opened(share, kind) as backend:
            seen = look(backend)
        assert seen.tally.entries == 403
        assert seen.wide > 2
        results.append(seen.result())
    assert results[0] == results[1]


def test_scan_leaves_no_descriptor_when_a_cursor_is_given_up(share: Path, narrow: None) -> None:
    for i in range(300):
        (share / f"file-with-a-longer-name-{i}").touch()
    for kind in both():
        with opened(share, kind) as backend:
            scan = backend.scan(walk_unit([whole()]), POLICY, EVERYTHING, ENDLESS)
            assert scan.wide is not None
            assert scan.wide.cursor is not None
            scan.wide.cursor.close()
            scan.wide.cursor.close()


def test_scan_stops_at_the_flag_and_always_comes_forward(share: Path) -> None:
    for i in range(10):
        (share / f"f{i}").touch()
    stopped = Limits(60, 100, 100, bytearray(b"\1"))
    for kind in both():
        with opened(share, kind) as backend:
            seen = look(backend, limits=lambda: stopped)
            assert seen.scans == 12  # the last one is of the root itself
            assert seen.tally.entries == 11
            assert look(backend, limits=lambda: Limits(0, 100, 100)).scans == 12


def test_scan_reports_the_same_for_a_directory_that_is_not_there_any_more(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").touch()
    (tmp_path / "link").symlink_to("real")
    for path in (b"link", b"link/deeper", b"real/file", b"real/file/x", b"gone", b"gone/x"):
        for hint in ((Hint.WALK, b""), (Hint.SELF, b""), (Hint.ENTRY, b"file")):
            unit = walk_unit([Group(path, 0, (hint,))])
            results = []
            for kind in both():
                with opened(tmp_path, kind) as backend:
                    results.append(look(backend, unit).result())
            assert results[0] == results[1]
            tally = results[0][0]
            assert isinstance(tally, Tally)
            assert tally.vanished == 1


@pytest.mark.privileged
def test_scan_keeps_to_its_filesystem_like_the_reference(
    share: Path, tmp_path: Path, unmounting: Callable[[Path], None], kernel: None
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    for place, command in (
        ("device", ["mount", "-t", "tmpfs", "none"]),
        ("bind", ["mount", "--bind", str(other)]),
    ):
        (share / place).mkdir()
        if subprocess.run([*command, share / place], check=False, capture_output=True).returncode:
            pytest.skip("mount is not permitted")
        unmounting(share / place)
        (share / place / "inside").touch()
    for cross in (False, True):
        results = []
        for kind in both():
            with opened(share, kind) as backend:
                results.append(look(backend, options=ScanOptions(cross=cross)))
        if cross or extension.FEATURES["statx"]:
            assert results[0].result() == results[1].result()
        skipped = results[0].tally.skipped
        assert skipped == (0 if cross else 2)


@pytest.mark.privileged
def test_scan_notices_acls_and_capabilities_like_the_reference(share: Path) -> None:
    for name, mode in (("acl", 0o640), ("tool", 0o755), ("data", 0o644), ("neither", 0o755)):
        (share / name).touch()
        (share / name).chmod(mode)
    acl = bytes.fromhex(
        "0200000001000600ffffffff020006000700000004000400ffffffff10000600ffffffff20000000ffffffff"
    )
    capability = bytes.fromhex("0100000201000000" + "00" * 12)
    try:
        os.setxattr(share / "acl", "system.posix_acl_access", acl)
        for name in ("tool", "data"):
            os.setxattr(share / name, "security.capability", capability)
    except OSError as error:
        pytest.skip(f"no such attributes here: {error}")
    results = []
    for kind in both():
        with opened(share, kind) as backend:
            results.append(look(backend))
    assert results[0].result() == results[1].result()
    assert results[1].notices == {(b"acl", "acl"): 1, (b"tool", "capability"): 1}


@pytest.mark.privileged
def test_scan_records_times_beyond_the_year_2262(share: Path) -> None:
    results = []
    for kind in both():
        for name, seconds in (("far", 2**34 - 2**31 - 1), ("early", -(2**31))):
            (share / name).touch()
            os.utime(share / name, (seconds, seconds))
            os.chown(share / name, 0, 0)
            (share / name).chmod(0o4755)
        with opened(share, kind) as backend:
            seen = look(backend)
            results.append(seen.result())
            for body in seen.changes:
                backend.apply(body, Verb.FORWARD)
            settled = [backend.apply(body, Verb.SETTLE) for body in seen.changes]
            assert sum(len(applied.stamps) for applied in settled) == 2
            for body in seen.changes:
                backend.apply(body, Verb.BACK)
    assert results[0] == results[1]


# -- deep

DEEP = 120


@pytest.mark.slow
@pytest.mark.parametrize("name", [b"d", b"d" * 255], ids=["short", "beyond-path-max"])
@pytest.mark.parametrize("descriptors", [1, 4, 16])
def test_deep_chains_are_walked_and_changed_alike(
    name: bytes, descriptors: int, tmp_path: Path, kernel: None
) -> None:
    results = []
    for kind in both():
        path = tmp_path / kind.__name__
        path.mkdir()
        with (
            chain(path, DEEP, name, siblings=True),
            opened(path, kind, descriptors=descriptors) as backend,
        ):
            seen = look(backend, limits=small(1))
            assert seen.records() == look(backend).records()
            outcomes = Counter(
                b"".join(backend.apply(c, Verb.FORWARD).outcomes for c in seen.changes)
            )
            left = look(backend)
            results.append((seen.tally, seen.attrs(), outcomes, left.tally))
            assert left.tally.compliant == left.tally.entries == 3 * DEEP + 1
    assert results[0] == results[1]


@pytest.mark.slow
def test_chain_of_20000_levels_is_walked_with_few_descriptors(share: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with chain(share, 20_000, b"d", siblings=True):
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            started = time.process_time()
            _walk_and_change(share, Limits(60, 10**9, 10**9), 0o2070)
            _walk_and_change(share, Limits(60, 5000, 10**9), 0o2075)
            took = time.process_time() - started
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert took < 60  # about 3; quadratic time would be hours


def _walk_and_change(share: Path, limits: Limits, bits: int) -> None:
    policy = GroupPolicy(GID, read_modes(f"d:+{bits:o} f:+{bits & 0o777:o}"))
    with opened(share, native.NativeBackend) as backend:
        seen = look(backend, limits=lambda: limits, policy=policy)
        outcomes = b"".join(backend.apply(c, Verb.FORWARD).outcomes for c in seen.changes)
    assert outcomes == bytes(60_001)
    assert sum(map(len, seen.changes)) < 60_001 * 64


# -- changing


def forward(backend: Backend, body: bytes, verb: Verb, **more: Any) -> dict[bytes, Key]:
    """Apply and return, by path, the outcome, failure and whether it was stamped."""
    applied = backend.apply(body, verb, **more)
    records = list(read_changes(body))
    assert len(applied.outcomes) == len(records)
    failures = {index: rest for index, *rest in applied.failures}
    stamped = {index for index, _ in applied.stamps}
    assert len(failures) == len(applied.failures)
    found: dict[bytes, Key] = {
        c.path: (
            Outcome(applied.outcomes[c.index]).name,
            tuple(failures.get(c.index, ())),
            c.index in stamped,
        )
        for c in records
    }
    found[b"//first"] = (applied.first_ctime > 0,)
    return found


def changes_of(backend: Backend) -> bytes:
    """Return all changes in one body, one a hard-linked inode, as the journal would have them."""
    scan = backend.scan(walk_unit([whole()]), POLICY, EVERYTHING, ENDLESS)
    assert scan.rest is None
    records = list(read_changes(scan.preimage))
    first: dict[int, bytes] = {}
    for record in sorted(records, key=lambda c: c.path):
        first.setdefault(record.inode, record.path)
    dropped = [c.offset for c in records if first[c.inode] != c.path]
    return with_flags(scan.preimage, dropped, Flag.DROPPED)


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("seed", range(8))
def test_apply_makes_and_undoes_the_same(seed: int, twins: Any, kernel: None) -> None:
    results = []
    for path, kind in zip(twins(seed), both(), strict=True):
        before = attrs(path)
        with opened(path, kind, descriptors=4) as backend:
            body = changes_of(backend)
            steps: list[object] = []
            for verb in (Verb.SETTLE, Verb.FORWARD, Verb.SETTLE, Verb.BACK, Verb.BACK):
                steps += [forward(backend, body, verb), attrs(path)]
            results.append([before, *steps])
    assert results[0] == results[1]


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("seed", range(12))
def test_apply_does_the_same_to_a_tree_that_changed(seed: int, verb: Verb, twins: Any) -> None:
    results = []
    for path, kind in zip(twins(seed), both(), strict=True):
        with opened(path, kind) as backend:
            body = changes_of(backend)
            Damage(seed).do(path, body)
            found = forward(backend, body, verb)
            again = forward(backend, body, verb)
            results.append((found, attrs(path), again, attrs(path)))
    assert results[0] == results[1]


@pytest.mark.privileged
def test_apply_tells_reused_inodes_by_their_birth(share: Path, kernel: None) -> None:
    (share / "file").touch()
    for kind in both():
        with opened(share, kind) as backend:
            body = changes_of(backend)
            old, new = (
                forward(backend, body, Verb.BACK, known=Known(born_before=when))[b"file"][0]
                for when in (time.time_ns() + 10**12, 1)
            )
            assert old == "UNCHANGED"
            known = kind is PythonBackend or extension.FEATURES["statx"]
            assert new == ("DIFFERENT" if known else "UNCHANGED")


@pytest.mark.privileged
def test_apply_stops_after_refusals_like_the_reference(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir(mode=0o755)
    for i in range(20):
        (share / f"f{i:02}").touch()
    results = []
    for kind in both():
        with opened(share, kind) as backend:
            body = changes_of(backend)
            os.seteuid(65534)
            try:
                applied = backend.apply(body, Verb.FORWARD, deny_limit=7)
            finally:
                os.seteuid(0)
        assert {(op, note) for _, op, _, note in applied.failures} == {("chown", "")}
        results.append(Counter(applied.outcomes))
    assert results[0] == results[1] == {Outcome.FAILED: 7, Outcome.UNTRIED: 14}


@pytest.mark.privileged
@pytest.mark.parametrize("verb", list(Verb))
def test_apply_that_is_stopped_tries_nothing(share: Path, verb: Verb) -> None:
    (share / "inner").mkdir()
    (share / "inner" / "file").touch(mode=0o600)
    before = attrs(share)
    for kind in both():
        with opened(share, kind) as backend:
            applied = backend.apply(changes_of(backend), verb, stop=bytes([1]))
        assert applied.outcomes == bytes(3 * [Outcome.UNTRIED])
    assert attrs(share) == before


@pytest.mark.privileged
def test_apply_names_what_protects_an_entry(share: Path) -> None:
    for name in ("immutable", "append", "free"):
        (share / name).touch()
    need("chattr", "e2fsprogs")
    marks = {"immutable": "i", "append": "a"}
    if subprocess.run(["chattr", "+i", share / "immutable"], check=False).returncode:
        pytest.skip("no such attributes here")
    try:
        subprocess.run(["chattr", "+a", share / "append"], check=True)
        results = []
        for kind in both():
            with opened(share, kind) as backend:
                results.append(forward(backend, changes_of(backend), Verb.FORWARD, deny_limit=1))
        for path, note in ((b"immutable", "immutable"), (b"append", "append-only")):
            for found in results:
                assert found[path] == ("FAILED", ("chown", errno.EPERM, note), False)
    finally:
        for name, mark in marks.items():
            subprocess.run(["chattr", f"-{mark}", share / name], check=True)


@pytest.mark.privileged
def test_python_changes_modes_where_the_kernel_has_no_fchmodat2(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.backend.python.setattr.HAS_FCHMODAT2", False)
    (share / "file").touch(0o600)
    with opened(share, PythonBackend) as backend:
        applied = backend.apply(changes_of(backend), Verb.FORWARD)
    assert Counter(applied.outcomes) == {Outcome.CHANGED: 2}
    assert not drift(share)


@pytest.mark.privileged
def test_apply_ends_on_a_read_only_filesystem(
    share: Path, unmounting: Callable[[Path], None]
) -> None:
    for i in range(5):
        (share / f"f{i}").touch()
    if subprocess.run(
        ["mount", "--bind", share, share], check=False, capture_output=True
    ).returncode:
        pytest.skip("mount is not permitted")
    unmounting(share)
    subprocess.run(["mount", "-o", "remount,bind,ro", share], check=True)
    for kind in both():
        with opened(share, kind) as backend:
            applied = backend.apply(changes_of(backend), Verb.FORWARD)
        assert Counter(applied.outcomes) == {Outcome.FAILED: 1, Outcome.UNTRIED: 5}
        assert applied.failures[0][1:] == ("chown", errno.EROFS, "")
