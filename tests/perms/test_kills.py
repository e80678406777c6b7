"""SIGKILL at any instant: what was begun is finished, or taken back, bit for bit.

A run is killed in two ways: in place of its n-th changing call (kill_at.c), which gives every
instant between the calls of one entry, and by the clock, which gives all others.
"""

from __future__ import annotations

import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from archipmigrate.backend.select import available
from archipmigrate.testshare import make_share
from tests.support.kill import (
    KILLED,
    Loaded,
    count_off,
    expected_tally,
    is_killed,
    left,
    migrated,
    set_bits_again,
    strike,
    tally_of,
    undone,
)
from tests.support.odd_tree import odd_tree, put
from tests.support.program import GID, Attrs, Ended, attrs, missing
from tests.support.thinned import fewer, is_all, strikes

pytestmark = pytest.mark.privileged


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Loaded]]:
    serving: dict[str, Loaded] = {}

    def load(backend: str) -> Loaded:
        if backend not in serving:
            serving[backend] = Loaded(backend, tmp_path_factory.mktemp(backend))
        return serving[backend]

    yield load
    for loaded in serving.values():
        loaded.close()


@pytest.fixture
def states(tmp_path: Path) -> Iterator[Path]:
    """Where states lie: in memory if possible, for SIGKILL takes nothing from a page cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield Path(directory)


@pytest.fixture
def loaded(backend: str, loader: Callable[[str], Loaded]) -> Loaded:
    return loader(backend)


def half_done(before: dict[bytes, Attrs], now: dict[bytes, Attrs]) -> set[bytes]:
    """Return the entries that are neither as they were nor as they are to be."""
    after = migrated(before)
    return {path for path in now if now[path] not in (before[path], after[path])}


def is_between(before: Attrs, now: Attrs) -> bool:
    """Say whether an entry got its group and nothing else, but for what the kernel strips."""
    mode = before[0]
    if stat.S_ISREG(mode) and before[2] != GID:
        mode &= ~0o6000 if mode & 0o010 else ~0o4000
    return now == (mode, before[1], GID)


def check_finished(ended: Ended, tally: dict[str, int]) -> None:
    assert ended.status == 0, ended.err
    assert ended.summary["status"] == "done"
    assert ended.summary["resumed"]
    assert tally_of(ended) == tally


def check_undone(ended: Ended, changed: int, off: int = 0) -> None:
    """Check an undo's summary; what a killed session had put back may count as compliant.

    Of *off* files the set-id bits stay off.
    """
    assert ended.status == (3 if off else 0), ended.out + ended.err
    summary = ended.summary
    assert summary["entries"] == changed
    assert summary["changed"] + summary["compliant"] == changed - off
    assert summary["resumed"] or not summary["compliant"]
    assert summary["skipped"] == off
    assert summary["failed"] == summary["vanished"] == 0


# -- between the calls of one entry


@pytest.mark.slow
def test_run_killed_between_any_two_calls_is_finished_by_the_next(
    loaded: Loaded, share: Path, states: Path
) -> None:
    odd_tree(share)
    before, tally = attrs(share), expected_tally(share)
    off = count_off(before, share)
    halves: set[bytes] = set()
    call = 0
    while True:
        call += 1
        state = states / f"state{call}"
        ended = loaded.perms(state, share, "--jobs", 1, kill_at=call)
        if ended.status != KILLED:
            break
        now = attrs(share)
        half = half_done(before, now)
        assert len({os.stat(os.path.join(os.fsencode(share), path)).st_ino for path in half}) <= 1
        assert all(is_between(before[path], now[path]) for path in half)
        halves |= half
        check_finished(loaded.perms(state, share), tally)
        assert attrs(share) == migrated(before)
        check_undone(loaded.undo(state), tally["changed"], off)
        assert attrs(share) == undone(before)
        set_bits_again(before, share)
    assert ended.status == 0
    two_calls = {path for path in before if before[path][2] != GID} - {b"a/right_bits"}
    assert is_all(halves, two_calls)
    assert call > 2 * tally["changed"] - 3


@pytest.mark.slow
def test_undo_of_a_run_killed_between_any_two_calls_restores_all(
    loaded: Loaded, share: Path, states: Path
) -> None:
    odd_tree(share)
    before = attrs(share)
    for call in strikes():
        state = states / f"state{call}"
        if loaded.perms(state, share, "--jobs", 1, kill_at=call).status != KILLED:
            break
        touched = {path: then for path, then in before.items() if attrs(share)[path] != then}
        ended = loaded.undo(state)
        off = count_off(touched, share)
        assert ended.status == (3 if off else 0)
        assert (ended.summary["skipped"], ended.summary["failed"]) == (off, 0)
        inodes = {os.stat(os.path.join(os.fsencode(share), path)).st_ino for path in touched}
        # One that lost nothing by its first call, because only its group was due, may be done.
        assert ended.summary["changed"] == len(inodes) - off
        assert attrs(share) == before | undone(touched)
        set_bits_again(touched, share)
    assert call > 15


@pytest.mark.slow
def test_undo_killed_between_any_two_calls_is_finished_by_the_next(
    loaded: Loaded, share: Path, states: Path
) -> None:
    odd_tree(share)
    before, changed = attrs(share), expected_tally(share)["changed"]
    off = count_off(before, share)
    without_bits = set()
    for call in strikes():
        state = states / f"state{call}"
        assert loaded.perms(state, share).status == 0
        ended = loaded.undo(state, "--jobs", 1, kill_at=call)
        if ended.status == KILLED:
            without_bits |= {
                path
                for path, (mode, uid, gid) in attrs(share).items()
                if before[path] == (mode | before[path][0] & 0o6000, uid, gid)
                and mode != before[path][0]
            }
            ended = loaded.undo(state)
            assert ended.summary["resumed"]
        check_undone(ended, changed, off)
        assert attrs(share) == undone(before)
        if not ended.summary["resumed"]:
            break
        set_bits_again(before, share)
    # Killed before their last call, these had all but their set-id bits back.
    assert is_all({b"a/locking", b"b"} & without_bits, {b"a/locking", b"b"})


@pytest.mark.slow
def test_undo_that_gives_set_id_bits_back_is_finished_when_killed_between_any_two_calls(
    loaded: Loaded, ext4: Path, states: Path
) -> None:
    odd_tree(ext4)
    before, changed = attrs(ext4), expected_tally(ext4)["changed"]
    bare = undone(before)
    ends = []
    for call in strikes():
        state = states / f"state{call}"
        assert loaded.perms(state, ext4).status == 0
        ended = loaded.undo(state, "--jobs", 1, "--restore-set-id", kill_at=call)
        if ended.status == KILLED:
            ended = loaded.undo(state)
            assert ended.summary["resumed"]
        now = attrs(ext4)
        # Those that were put back and not noted when it was killed are not known to be unwritten.
        off = {path for path in now if now[path] != before[path]}
        assert all(now[path] == bare[path] for path in off)
        check_undone(ended, changed, count_off({path: before[path] for path in off}, ext4))
        ends.append(len(off))
        if not ended.summary["resumed"]:
            break
        set_bits_again(before, ext4)
    assert ends[-1] == 0
    assert ends.count(0) >= fewer(len(ends) // 2 + 1)


# -- files with several names


@pytest.mark.slow
def test_linked_files_are_changed_once_and_put_back_once_when_killed(
    loaded: Loaded, share: Path, states: Path
) -> None:
    for name in ("left", "right"):
        (share / name).mkdir()
    for number in range(400):
        os.link(put(share / "left" / f"{number}", 0o600), share / "right" / f"{number}")
    before, tally = attrs(share), expected_tally(share)
    assert (tally["changed"], tally["hard_linked"]) == (403, 800)
    for call in (2, 400, 511, 803):  # the last two are past the first unit
        state = states / f"state{call}"
        assert loaded.perms(state, share, "--jobs", 1, kill_at=call).status == KILLED
        assert left(state).batches
        check_finished(loaded.perms(state, share), tally)
        assert attrs(share) == migrated(before)
        assert loaded.undo(state, "--jobs", 1, kill_at=call).status == KILLED
        check_undone(loaded.undo(state), 403)
        assert attrs(share) == before


# -- a wide directory, half read


@dataclass(frozen=True)
class Wide:
    """What a wide directory is made of: more names than are read before lanes have enough."""

    files: int = 66_000
    every: int = 4  # one in four does not comply
    others: int = 700
    directories: int = 300
    linked: int = 300

    def make(self, directory: Path, rng: random.Random) -> None:
        names = rng.sample(range(10**9), self.files + self.others + self.directories)
        files = [directory / f"{name:064d}" for name in names[: self.files]]
        put(directory, 0o2700, GID)  # files inherit the group
        umask = os.umask(0)
        for number, path in enumerate(files):
            mode = 0o600 if number % self.every == 0 else 0o660
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, mode))
        os.umask(umask)
        put(directory, 0o700)
        for name in names[self.files : self.files + self.others]:
            os.symlink("elsewhere", directory / f"{name}")
        for name in names[self.files + self.others :]:
            (directory / f"{name}").mkdir()
            (directory / f"{name}" / "file").touch()
        for path in files[: self.linked]:
            os.link(path, directory / f"{names[-1]}" / path.name)


@pytest.mark.slow
def test_tally_is_exact_when_killed_again_and_again_in_a_wide_directory(
    loaded: Loaded, states: Path
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    share = states / "share"  # in memory, too: it is large
    (share / "wide").mkdir(parents=True)
    Wide().make(share / "wide", rng)
    before, tally = attrs(share), expected_tally(share)
    state = states / "state"
    half_read = 0
    while half_read < 3:
        ended = loaded.perms(state, share, "--jobs", 1, kill_at=rng.randrange(1, 1200))
        assert ended.status == KILLED, f"seed {seed}: finished, killed {half_read} times half read"
        half_read += bool(left(state).scopes)
    check_finished(loaded.perms(state, share), tally)
    assert attrs(share) == migrated(before), f"seed {seed}"
    check_undone(loaded.undo(state), tally["changed"])
    assert attrs(share) == before, f"seed {seed}"


# -- at random instants


def make_mixed(share: Path, rng: random.Random) -> None:
    """Make a share of the filed layout, a wide directory, and all that is odd in both."""
    share.rmdir()
    make_share(str(share), objects=3000, volumes=3, seed=rng.randrange(10**6))
    flat, links = share / "flat", share / "links"
    flat.mkdir()
    links.mkdir()
    modes = (*(0o600, 0o640, 0o666) * 10, 0o4755, 0o2755, 0o6711, 0o2644, 0o4600)
    for number in range(6000):
        path = put(flat / f"{rng.randrange(10**12):064d}", rng.choice(modes), rng.choice((0, 7)))
        if number % 20 == 0:
            os.link(path, links / path.name)
        if number % 40 == 0:
            os.symlink("elsewhere", flat / f"link{number}")
            os.mkfifo(flat / f"fifo{number}")
    for number in range(500):
        put(flat / f"right{number}", 0o4660, GID)


def kill_often(
    loaded: Loaded, state: Path, rng: random.Random, kills: int, once: Ended, *command: object
) -> tuple[int, Ended]:
    """Kill and resume a run; return how many kills met it changing things, and how it ended.

    Every other kill is by the clock, which *once*, the same run without kills, is measured by. Each
    lets some of what is left be done, so that there is enough left for all also if the machine is
    twice as fast by now.
    """
    entries, changed, seconds = (once.summary[name] for name in ("entries", "changed", "seconds"))
    hits, done = 0, 0
    for number in range(kills):
        part = (1 - done / entries) / (kills + 2 - number)
        if number % 2:
            ended = strike(loaded, state, rng.uniform(0, 1.5 * part * seconds), *command)
        else:
            most = max(1, int(3 * part * changed))
            ended = loaded(state, *command, kill_at=rng.randint(1, most))
        if not is_killed(ended):
            return hits, ended
        found = left(state, str(command[0]))
        hits += bool(found.unsettled) or 0 < found.changed < changed
        done = found.entries
    return hits, loaded(state, *command)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_at_random_instants_it_ends_as_if_it_had_not_been(
    loaded: Loaded, share: Path, states: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    make_mixed(share, rng)
    before, tally = attrs(share), expected_tally(share)
    off = count_off(before, share)
    perms = ("perms", "--json", "--group", GID, share)
    once = loaded(states / "once", *perms)
    assert tally_of(once) == tally
    after = attrs(share)
    assert after == migrated(before)
    back = loaded(states / "once", "undo", "--json")
    check_undone(back, tally["changed"], off)
    assert attrs(share) == undone(before)
    set_bits_again(before, share)

    state, changed = states / "often", tally["changed"]
    kills, kills_of_undo = fewer(30), fewer(12)
    hits, ended = kill_often(loaded, state, rng, kills, once, *perms)
    check_finished(ended, tally)
    assert attrs(share) == after, f"seed {seed}"
    back_hits, ended = kill_often(loaded, state, rng, kills_of_undo, back, "undo", "--json")
    check_undone(ended, changed, off)
    assert attrs(share) == undone(before), f"seed {seed}"
    record_property("kills", (hits, back_hits))
    assert 6 * hits >= 5 * kills, f"seed {seed}: only {hits} kills landed"
    assert 3 * back_hits >= 2 * kills_of_undo, f"seed {seed}: only {back_hits} kills of undo landed"


# -- by another backend


@pytest.mark.slow
def test_what_one_backend_left_is_finished_and_undone_by_the_other(
    loaded: Loaded, loader: Callable[[str], Loaded], share: Path, states: Path
) -> None:
    others = [name for name in available() if name != loaded.backend]
    if not others:
        missing("gcc (the C extension)")
    other = loader(others[0])
    odd_tree(share)
    before, tally = attrs(share), expected_tally(share)
    off = count_off(before, share)
    for call in (4, 9, 14):
        state = states / f"state{call}"
        assert loaded.perms(state, share, "--jobs", 1, kill_at=call).status == KILLED
        check_finished(other.perms(state, share), tally)
        assert attrs(share) == migrated(before)
        assert loaded.undo(state, "--jobs", 1, kill_at=call).status == KILLED
        check_undone(other.undo(state), tally["changed"], off)
        assert attrs(share) == undone(before)
        set_bits_again(before, share)
