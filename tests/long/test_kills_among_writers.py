"""SIGKILL at random instants while others write: what lasts is migrated, and put back exactly.

Each round kills `perms` and `undo` a few times each, by the clock or in place of a changing call,
and resumes them with any backend and number of lanes. ARCHIPMIGRATE_ROUNDS says how many rounds
there are; ARCHIPMIGRATE_SEED repeats one, though kills by the clock may fall elsewhere.
"""

from __future__ import annotations

import os
import random
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archipmigrate.backend.select import available
from archipmigrate.journal.runs import list_runs
from archipmigrate.testshare import make_share
from tests.support import writer
from tests.support.attack import attacked
from tests.support.kill import Loaded, is_killed, migrated, strike
from tests.support.program import GID, Attrs, Ended, attrs

pytestmark = [pytest.mark.long, pytest.mark.privileged, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("ARCHIPMIGRATE_ROUNDS", "20"))
SEED = os.environ.get("ARCHIPMIGRATE_SEED", "")
WRITERS = 2
MOST_KILLS = 6  # of one command
MOST_LANES = 8
MODES = (0o600, 0o640, 0o666, 0o444, 0o4755, 0o2755, 0o2644, 0o1600)
DIRECTORY_MODES = (0o700, 0o755, 0o1777, 0o2755, 0o500)
SET_ID = 0o6000


@pytest.fixture(scope="module")
def loaders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Loaded]]:
    """The program with each backend."""
    made = [Loaded(name, tmp_path_factory.mktemp(name)) for name in available()]
    yield made
    for loaded in made:
        loaded.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory if possible: SIGKILL takes nothing from a page cache."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else tmp_path) as directory:
        yield Path(directory)


class Killer:
    """Runs commands that work on a share, and kills them."""

    def __init__(self, loaders: list[Loaded], state: Path, rng: random.Random) -> None:
        self._loaders = loaders
        self._state = state
        self._rng = rng
        self.kills = 0

    def run(self, seconds: float, changes: int, *command: object) -> Ended:
        """Kill a command now and then, and resume it to its end.

        A kill by the clock falls into its first *seconds*, another before its first *changes* are
        made.
        """
        for _ in range(self._rng.randint(1, MOST_KILLS)):
            loaded, words = self._any(command)
            if self._rng.random() < 0.5:
                ended = strike(loaded, self._state, self._rng.uniform(0, seconds), *words)
            else:
                ended = loaded(self._state, *words, kill_at=self._rng.randint(1, changes))
            if not is_killed(ended):
                return ended
            self.kills += 1
        loaded, words = self._any(command)
        return loaded(self._state, *words)

    def _any(self, command: tuple[object, ...]) -> tuple[Loaded, tuple[object, ...]]:
        lanes = self._rng.randint(1, MOST_LANES)
        return self._rng.choice(self._loaders), (*command, "--json", "--jobs", lanes)


def make(share: Path, rng: random.Random) -> None:
    """Make a share of the filed layout, and a wide directory of all modes beside deep ones."""
    share.rmdir()
    make_share(str(share), objects=1000, volumes=3, seed=rng.randrange(10**6))
    flat = share / "flat"
    deep = flat
    flat.mkdir()
    for number in range(3000):
        path = flat / f"{rng.randrange(10**12):064d}"
        path.write_bytes(b"")
        os.chown(path, rng.choice((0, 1000)), rng.choice((0, 7, GID)))
        path.chmod(rng.choice(MODES))
        if number % 50 == 0:
            os.link(path, share / f"link{number}")
            os.symlink(path, flat / f"symlink{number}")
            deep = deep / f"deep{number}"
            deep.mkdir()
            os.chown(deep, 0, rng.choice((0, 7, GID)))
            deep.chmod(rng.choice(DIRECTORY_MODES))


def attrs_of(share: Path, paths: Iterable[bytes]) -> dict[bytes, Attrs]:
    """Return (mode, uid, gid) of entries."""
    found = {}
    for path in paths:
        status = os.lstat(os.path.join(os.fsencode(share), path))
        found[path] = status.st_mode, status.st_uid, status.st_gid
    return found


def without_set_id(entries: dict[bytes, Attrs]) -> dict[bytes, Attrs]:
    """Return attrs without the set-id bits of files: undo leaves them off if it must."""
    return {
        path: (mode & ~SET_ID if stat.S_ISREG(mode) else mode, uid, gid)
        for path, (mode, uid, gid) in entries.items()
    }


def check_end(ended: Ended) -> None:
    """Check that a command came to its end, and that only what the writers own fails.

    Undo lists files that were written to, too: their set-id bits stay off.
    """
    assert ended.status in {0, 3}, ended.out[-2000:] + ended.err
    assert "Traceback" not in ended.err
    failures = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert not [
        failure
        for failure in failures
        if writer.OWN not in failure["path"] and "set-id" not in failure["reason"]
    ]


def check_same(now: dict[bytes, Attrs], wanted: dict[bytes, Attrs]) -> None:
    """Check attrs, and show some that differ."""
    differ = [(path, wanted[path], now[path]) for path in wanted if now[path] != wanted[path]]
    assert not differ, f"{len(differ)} differ: {differ[:5]}"


@pytest.mark.parametrize("number", range(ROUNDS))
def test_what_lasts_among_writers_is_put_back_exactly_however_often_it_is_killed(
    loaders: list[Loaded],
    share: Path,
    memory: Path,
    number: int,
    record_property: Callable[[str, object], None],
) -> None:
    seed = int(SEED) + number if SEED else random.randrange(10**9)
    print(f"ARCHIPMIGRATE_SEED={seed} ARCHIPMIGRATE_ROUNDS=1")  # noqa: T201 -- to repeat it
    rng = random.Random(seed)
    where = share if rng.random() < 0.5 else memory / "share"
    where.mkdir(exist_ok=True)
    make(where, rng)
    before = attrs(where)
    state = memory / "state"
    state.mkdir(mode=0o700)
    killer = Killer(loaders, state, rng)
    with ExitStack() as stack:
        for one in range(WRITERS):
            stack.enter_context(attacked([*writer.COMMAND, where, str(seed + one)]))
        ended = killer.run(0.5, len(before), "perms", "--group", GID, where)
        check_end(ended)
        check_same(attrs_of(where, before), migrated(before))
        # More than one if a session was killed that had just come to its end.
        for run in reversed([header.run for header in list_runs(state)]):
            check_end(killer.run(0.5, len(before), "undo", run))
        now = attrs_of(where, before)
    check_same(without_set_id(now), without_set_id(before))
    assert not [path for path in before if now[path][0] & ~before[path][0] & SET_ID]
    record_property("kills", killer.kills)
    print(f"{killer.kills} kills")  # noqa: T201
