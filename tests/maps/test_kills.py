"""Killed or failing at any call, `mapfiles` leaves a volume that reads as the old or the new one.

fail_at.c kills the run in place of its n-th call that changes anything below the maps or the locks,
or after it, or makes that call fail. Then the reference reader reads the volume, and the same
command finishes the work, or `undo` puts it back.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import compiled
from tests.support.kill import Loaded
from tests.support.map_cases import SCENES, Scene
from tests.support.map_runs import arguments, finished
from tests.support.map_shares import Snapshot, contents, read_volume, snapshot
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
KILLED = -9
# Try every n-th call, or fewer (see thinned). A kill after a call is mostly the same as one before
# the next.
STEPS = {"kill": 1, "after": 3, "undo": 2}
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS")
FEWEST = 12  # calls that change something, in any upgrade
WAYS = [(scene, bool(number % 2)) for number, scene in enumerate(SCENES.values())]
WAYS += [(scene, not locks) for scene, locks in WAYS if scene.name in {"prefixed", "in place"}]
SHORT = [(scene, locks) for scene, locks in WAYS if scene.name != "several blocks"]
each_way = pytest.mark.parametrize(
    ("scene", "locks"), WAYS, ids=[f"{scene.name}-{'locks' * lock}" for scene, lock in WAYS]
)
each_short_way = pytest.mark.parametrize(
    ("scene", "locks"), SHORT, ids=[f"{scene.name}-{'locks' * lock}" for scene, lock in SHORT]
)

each_error = pytest.mark.parametrize(
    "how", ["in turn", *(pytest.param(error, marks=pytest.mark.long) for error in ERRORS)]
)


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Loaded]]:
    serving: dict[str, Loaded] = {}

    def load(backend: str) -> Loaded:
        if backend not in serving:
            directory = tmp_path_factory.mktemp(backend)
            serving[backend] = Loaded(backend, directory, "fail_at")
        return serving[backend]

    yield load
    for loaded in serving.values():
        loaded.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A share with its scene, as it was before, and a state directory."""

    loaded: Loaded
    scene: Scene
    top: Path
    locks: Path | None
    before: Snapshot
    due: Snapshot

    @property
    def maps(self) -> Path:
        return self.top / "maps"

    @property
    def fired(self) -> str:
        """The call that was killed, or failed; empty if there was none."""
        report = self.top / "report"
        return report.read_text() if report.exists() else ""

    def _run(self, args: list[object], at: int, how: str) -> Ended:
        report = self.top / "report"
        report.unlink(missing_ok=True)
        fault = {"FAIL_UNDER": f"{self.maps}:{self.top / 'locks'}", "FAIL_AT": str(at),
                 "FAIL_HOW": how, "FAIL_REPORT": str(report)}  # fmt: skip
        return self.loaded.start(self.top / "state", *args, env=fault).wait()

    def run(self, at: int = 0, how: str = "kill") -> Ended:
        """Upgrade; kill the run, or fail, at the *at*-th changing call."""
        words = arguments(self.maps, locks=self.locks, sizes=self.scene.sizes)
        return self._run([*words, "--jobs", 1], at, how)

    def undo(self, at: int = 0, how: str = "kill") -> Ended:
        """Undo the latest run."""
        return self._run(["undo", "--json"], at, how)

    def check_whole(self) -> None:
        """Check that the mapper, or v0.3 if the map was its own, finds the whole volume."""
        found = read_volume(self.maps, self.scene.volume, size=self.scene.size, v03=True)
        assert found.entries == self.scene.entries, self.fired

    def check_done(self, ended: Ended) -> None:
        """Check that an upgrade succeeded, and left exactly the files that it must."""
        finished(ended, [self.scene.volume])
        assert contents(self._left()) == contents(self.due), self.fired

    def check_undone(self, ended: Ended) -> None:
        """Check that an undo succeeded, and every file is as before."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        now = self._left()
        assert contents(now) == contents(self.before), self.fired
        for path, file in now.items():
            was = self.before[path]
            assert (file.uid, file.gid) == (was.uid, was.gid)
            if Path(path).name == self.scene.volume:  # was changed in its own inode
                assert file.inode == was.inode

    def _left(self) -> Snapshot:
        found = snapshot(self.maps)
        return {**found, **{f"locks/{name}": file for name, file in snapshot(self.locks).items()}}


Sites = Callable[[], Site]


@pytest.fixture
def sites(
    backend: str, loader: Callable[[str], Loaded], scene: Scene, locks: bool, tmp_path: Path
) -> Iterator[Sites]:
    """Yield a maker of fresh shares, in memory if possible: SIGKILL keeps the page cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        top = Path(directory)
        scene.after(top / "due")
        due = snapshot(top / "due")

        def fresh() -> Site:
            site = top / "site"
            shutil.rmtree(site, ignore_errors=True)
            for name in ("maps", "locks", "state"):
                (site / name).mkdir(mode=0o700, parents=True)
            scene.before(site / "maps")
            lock_directory = site / "locks" if locks else None
            return Site(loader(backend), scene, site, lock_directory, snapshot(site / "maps"), due)

        yield fresh


def way_of(how: str, at: int) -> str:
    """Return how the *at*-th call is struck: "in turn" is with the errors in turn."""
    return ERRORS[at % len(ERRORS)] if how == "in turn" else how


def struck(sites: Sites, how: str, step: int) -> Iterator[tuple[Site, Ended]]:
    """Yield shares whose upgrade was struck at every *step*-th call; check the one that was not."""
    for at in strikes(step):
        site = sites()
        ended = site.run(at, way_of(how, at))
        if not site.fired:
            break
        yield site, ended
    site.check_done(ended)
    assert at > FEWEST


@each_way
def test_upgrade_killed_at_any_call_is_finished_by_the_same_command(
    sites: Sites,
) -> None:
    for site, ended in struck(sites, "kill", STEPS["kill"]):
        assert ended.status == KILLED
        site.check_whole()
        site.check_done(site.run())


@each_way
def test_upgrade_killed_after_any_call_is_finished_by_the_same_command(
    sites: Sites,
) -> None:
    for site, ended in struck(sites, "after", STEPS["after"]):
        assert ended.status == KILLED
        site.check_whole()
        site.check_done(site.run())


@each_short_way
def test_upgrade_killed_at_any_call_is_undone(sites: Sites) -> None:
    for site, _ in struck(sites, "kill", STEPS["undo"]):
        site.check_undone(site.undo())
        site.check_done(site.run())


@each_short_way
@pytest.mark.parametrize("how", ["kill", "after"])
def test_undo_killed_at_any_call_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for at in strikes(STEPS[how]):
        site = sites()
        site.check_done(site.run())
        ended = site.undo(at, how)
        if not site.fired:
            break
        assert ended.status == KILLED
        site.check_whole()
        site.check_undone(site.undo())
    site.check_undone(ended)
    assert at > 3  # header, a block, a lock


@each_short_way
@each_error
def test_upgrade_with_a_call_that_fails_leaves_a_whole_volume_and_can_be_run_again(
    sites: Sites, how: str
) -> None:
    for site, ended in struck(sites, how, 1):
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_whole()
        if ended.status == 0:  # the failure did not matter, or the second try succeeded
            site.check_done(ended)
        site.check_done(site.run())


@each_short_way
@each_error
def test_undo_with_a_call_that_fails_leaves_a_whole_volume_and_can_be_run_again(
    sites: Sites, how: str
) -> None:
    for at in strikes():
        site = sites()
        site.check_done(site.run())
        ended = site.undo(at, way_of(how, at))
        if not site.fired:
            break
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
        site.check_whole()
        # If the second try succeeds, as of releasing a lock, there is no failure.
        site.check_undone(site.undo() if ended.status else ended)
    site.check_undone(ended)


# -- the library itself

CHANGES = """
import os, sys
top = os.open(sys.argv[1], os.O_RDONLY)
path = sys.argv[1] + "/a/f"
os.mkdir("a", dir_fd=top)
file = os.open("a/f", os.O_CREAT | os.O_RDWR, 0o600, dir_fd=top)
os.write(file, b"ab")
os.pread(file, 2, 0)
os.pwrite(file, b"c", 1)
os.fsync(file)
os.fdatasync(file)
os.ftruncate(file, 1)
os.fchmod(file, 0o640)
os.fchown(file, 0, 0)
os.utime(file)
os.chmod(f"/proc/self/fd/{file}", 0o600)
os.link("a/f", "a/g", src_dir_fd=top, dst_dir_fd=top)
os.rename("a/g", "a/h", src_dir_fd=top, dst_dir_fd=top)
os.replace(path, sys.argv[1] + "/a/i")
os.unlink("a/h", dir_fd=top)
os.unlink(sys.argv[1] + "/a/i")
os.rmdir("a", dir_fd=top)
with open(sys.argv[1] + "-elsewhere", "w") as file:
    file.write("not counted")
"""
COUNTED = ["mkdirat a", "openat a/f", "write a/f", "pwrite a/f", "fsync a/f", "fdatasync a/f",
           "ftruncate a/f", "fchmod a/f", "fchown a/f", "futimens a/f", "chmod a/f", "linkat a/f",
           "renameat a/g", "rename a/f", "unlinkat a/h", "unlink a/i", "unlinkat a"]  # fmt: skip


@pytest.mark.parametrize(("how", "status"), [("kill", KILLED), ("after", KILLED), ("EIO", 1)])
def test_library_strikes_every_call_that_changes_something_once(
    tmp_path: Path, how: str, status: int
) -> None:
    library = compiled.library("fail_at")
    report = tmp_path / "report"
    fired = []
    for at in itertools.count(1):
        top = tmp_path / str(at)
        top.mkdir()
        report.unlink(missing_ok=True)
        fault = {"LD_PRELOAD": str(library), "FAIL_UNDER": f"/nowhere:{top}", "FAIL_AT": str(at),
                 "FAIL_HOW": how, "FAIL_REPORT": str(report)}  # fmt: skip
        command = [sys.executable, "-c", CHANGES, str(top)]
        done = subprocess.run(
            command, env={**os.environ, **fault}, stderr=subprocess.DEVNULL, check=False
        )
        if not report.exists():
            break
        assert done.returncode == status
        call, path = report.read_text().split()
        fired.append(f"{call.removesuffix('64')} {Path(path).relative_to(top)}")
        if call == "mkdirat":
            assert (top / "a").exists() == (how == "after")
    assert done.returncode == 0
    assert fired == COUNTED


@each_way
def test_scene_reads_the_same_before_and_after(scene: Scene, locks: bool, tmp_path: Path) -> None:
    scene.before(tmp_path / "before")
    scene.after(tmp_path / "after")
    for maps in (tmp_path / "before", tmp_path / "after"):
        found = read_volume(maps, scene.volume, size=scene.size, v03=True)
        assert found.entries == scene.entries
    assert (found.version, found.name) == (2, scene.volume)
