"""Volumes that are upgraded together: each step for all, and what happens to one alone."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from archipmigrate.backend.extensions import BUILT
from archipmigrate.layout.placement import sha256_dir
from archipmigrate.maps.blocker import together
from archipmigrate.maps.blocker.files import (
    Files,
    Leaving,
    NativeFiles,
    NewFile,
    PartLink,
    PythonFiles,
)
from archipmigrate.maps.blocker.preimage import VolumePreimage
from archipmigrate.maps.format.v2 import HeaderV2, encode_header_v2
from archipmigrate.maps.format.verdict import Plan
from archipmigrate.maps.jobs.pace import FIRST, LONGEST, MOST, Pace
from archipmigrate.tree.files import Tree
from tests.support.inprocess import Program
from tests.support.kill import KILLED, Loaded
from tests.support.map_runs import arguments, finished, results
from tests.support.map_shares import (
    PREFIX,
    block_name,
    contents,
    from_v1,
    lock_path,
    put,
    put_v1,
    read_volume,
    sha256_place,
    snapshot,
    v1,
    v1_entries,
)
from tests.support.program import Ended
from tests.support.thinned import strikes

VOLUMES = ("foobar", "second", "number3")
STEP = 2  # every n-th call is struck


@pytest.fixture
def backend(codec: str) -> str:
    """Run over one codec: tests of the codecs compare them."""
    return codec


@pytest.fixture(params=[PythonFiles, NativeFiles], ids=["python", "native"])
def files(request: pytest.FixtureRequest) -> Files:
    if request.param is NativeFiles and not BUILT:
        pytest.skip("the extension is not built")
    made: Files = request.param()
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    yield Tree(fd)
    os.close(fd)


# -- the twins


def test_files_are_made_with_their_directories_in_the_place_of_others(
    files: Files, tree: Tree, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "aa").mkdir()
    (root / "aa/old").write_bytes(b"longer than before")
    wanted = [
        NewFile(b"aa", b"old", b"new"),
        NewFile(b"aa/bb/cc", b"deep", bytes(200_000)),
        NewFile(b"", b"flat", b""),
    ]
    made = files.make(tree, wanted, named=True)
    for file, (error, inode) in zip(wanted, made, strict=True):
        path = root / os.fsdecode(file.directory) / os.fsdecode(file.name)
        assert (error, inode) == (0, path.stat().st_ino)
        assert path.read_bytes() == file.content


def test_file_that_cannot_be_made_leaves_the_others_alone(
    files: Files, tree: Tree, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "aa").symlink_to(tmp_path)
    (root / "bb/taken").mkdir(parents=True)
    wanted = [
        NewFile(b"aa", b"outside", b"x"),
        NewFile(b"bb", b"taken", b"x"),
        NewFile(b"bb", b"fine", b"x"),
    ]
    errors = [error for error, _ in files.make(tree, wanted, named=True)]
    assert errors[0] in (errno.ELOOP, errno.ENOTDIR)
    assert errors[1] == errno.EISDIR
    assert errors[2] == 0
    assert not (tmp_path / "outside").exists()
    assert sorted(os.listdir(root / "bb")) == ["fine", "taken"]


def test_part_is_linked_once_and_never_over_another_file(
    files: Files, tree: Tree, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for name in ("part1", "part2", "part3"):
        (root / name).write_bytes(name.encode())
    (root / "taken").write_bytes(b"another")
    os.link(root / "part3", root / "again")  # an NFS server had answered, and it got lost
    links = [
        PartLink(b"", part, name, (root / os.fsdecode(part)).stat().st_ino)
        for part, name in ((b"part1", b"fine"), (b"part2", b"taken"), (b"part3", b"again"))
    ]
    assert files.link(tree, links, durable=True) == [0, errno.EEXIST, 0]
    left = {path.name: path.read_bytes() for path in root.iterdir()}
    assert left == {"fine": b"part1", "again": b"part3", "taken": b"another"}


def test_only_what_is_as_it_was_is_removed(files: Files, tree: Tree, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("same", "written", "exchanged", "ours", "theirs"):
        (root / name).write_bytes(b"content")
    leaving = [
        Leaving(b"", os.fsencode(name), found.st_ino, found.st_size, found.st_mtime_ns)
        for name in ("same", "written", "exchanged")
        for found in [(root / name).stat()]
    ]
    leaving += [Leaving(b"", b"ours", content=b"content"), Leaving(b"", b"theirs", content=b"c")]
    leaving += [Leaving(b"", b"gone", 1, 1, 1), Leaving(b"no/such/place", b"gone", 1, 1, 1)]
    (root / "written").write_bytes(b"more content")
    (root / "new").write_bytes(b"content")
    (root / "new").rename(root / "exchanged")
    errors = files.remove(tree, leaving, durable=True)
    assert errors == [0, errno.ESTALE, 0, 0, errno.ESTALE, 0, 0]
    assert sorted(os.listdir(root)) == ["exchanged", "theirs", "written"]


@pytest.mark.skipif(not BUILT, reason="the extension is not built")
@pytest.mark.parametrize(
    ("directory", "name"), [(b"..", b"a"), (b"/etc", b"a"), (b"a", b"../b"), (b"a", b"")]
)
def test_names_that_could_lead_elsewhere_are_refused(
    tree: Tree, tmp_path: Path, directory: bytes, name: bytes
) -> None:
    wanted = [NewFile(b"", b"first", b""), NewFile(directory, name, b"")]
    with pytest.raises(ValueError, match="malformed"):
        NativeFiles().make(tree, wanted, named=False)
    assert not os.listdir(tmp_path / "root")


# -- how many


def preimage(objects: int, plan: Plan = Plan.RENAME) -> VolumePreimage:
    return VolumePreimage(
        b"foobar", plan, 1, encode_header_v2(HeaderV2(objects << 22, epoch=1)), b"", []
    )


def test_blocks_of_one_batch_fit_in_memory() -> None:
    full, small = preimage(32768), preimage(1)
    fits = together.MOST_BYTES // (32768 * 128)
    assert len(together.first_batch([full] * 9)) == fits
    assert len(together.first_batch([small] * 500)) == 500
    assert len(together.first_batch([full] * fits + [small])) == fits
    # What has several blocks, or stays in place, is upgraded alone, a piece at a time.
    assert len(together.first_batch([preimage(32769)] * 9)) == 9


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def batch_sizes(seconds_of: Callable[[int], float], count: int) -> list[int]:
    """Return the sizes of some batches, each of which takes *seconds_of* its size."""
    clock = Clock()
    pace, sizes = Pace(clock), []
    for _ in range(count):
        since = clock.now
        sizes.append(pace.most)
        clock.now += seconds_of(pace.most)
        pace.observe(pace.most, since)
    return sizes


def test_batch_grows_up_to_a_bound_while_it_is_fast() -> None:
    assert batch_sizes(lambda _: 0.01, 5) == [FIRST, 32, 64, MOST, MOST]


@pytest.mark.parametrize("each", [0.005, 0.02, 0.06, 0.12])
def test_batch_never_holds_locks_for_longer_than_it_may(each: float) -> None:
    sizes = batch_sizes(lambda volumes: 0.1 + each * volumes, 50)
    assert all(0.1 + each * volumes <= LONGEST for volumes in sizes[1:])


def test_batch_of_a_slow_share_is_one_volume() -> None:
    assert batch_sizes(lambda volumes: 9.0 * volumes, 3)[1:] == [1, 1]


def test_small_batch_that_is_the_last_of_its_unit_says_nothing() -> None:
    pace = Pace(Clock())
    pace.observe(3, 99.9)
    assert pace.most == FIRST


# -- the program


class Recorder(PythonFiles):
    """Notes the steps."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int]] = []

    def make(
        self, tree: Tree, files: Sequence[NewFile], *, named: bool
    ) -> Sequence[tuple[int, int]]:
        self.steps.append(("make", len(files)))
        return super().make(tree, files, named=named)

    def link(self, tree: Tree, links: Sequence[PartLink], *, durable: bool) -> Sequence[int]:
        self.steps.append(("link", len(links)))
        return super().link(tree, links, durable=durable)

    def remove(self, tree: Tree, files: Sequence[Leaving], *, durable: bool) -> Sequence[int]:
        self.steps.append(("remove", len(files)))
        return super().remove(tree, files, durable=durable)


@pytest.mark.privileged
def test_each_step_is_taken_for_all_volumes_before_the_next_one(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    put_v1(maps, *VOLUMES)
    recorder = Recorder()
    monkeypatch.setattr("archipmigrate.maps.open.files_of", lambda _: recorder)
    finished(program(*arguments(maps)), VOLUMES)
    locks, many = 2 * len(VOLUMES), len(VOLUMES)
    assert recorder.steps == [
        *(("make", locks), ("link", locks)),
        *(("make", many), ("make", many), ("link", many), ("remove", many)),
        ("remove", locks),
    ]


@pytest.mark.privileged
def test_one_volume_that_fails_or_is_locked_leaves_the_others_alone(
    program: Program, tmp_path: Path
) -> None:
    maps = tmp_path / "maps"
    put_v1(maps, *VOLUMES, "locked", "blocked")
    lock = lock_path(maps, None, "locked")
    lock.parent.mkdir(parents=True)
    lock.write_bytes(b"somebody")
    place = maps / sha256_place(block_name("blocked", 0))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"where a directory belongs")
    ended = program(*arguments(maps))
    assert results(ended) == {
        **dict.fromkeys(VOLUMES, "upgraded"),
        "locked": "locked",
        "blocked": "failed",
    }
    for volume in VOLUMES:
        assert read_volume(maps, volume).version == 2
    assert read_volume(maps, "locked").version == read_volume(maps, "blocked").version == 1
    lock.unlink()
    place.unlink()
    ended = program("resume", "--failed", "--json")
    assert (ended.status, set(results(ended).values())) == (0, {"upgraded"})


@pytest.mark.privileged
def test_replaced_block_comes_back_if_its_volume_fails(program: Program, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    put_v1(maps, *VOLUMES)
    block = put(maps, block_name("foobar", 0), b"of an upgrade that was cut off", mode=0o640)
    header = maps.joinpath(*map(os.fsdecode, sha256_dir(b"foobar")))
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_bytes(b"where a directory belongs")
    ended = program(*arguments(maps))
    assert results(ended) == {"foobar": "failed", "second": "upgraded", "number3": "upgraded"}
    assert block.read_bytes() == b"of an upgrade that was cut off"
    assert block.stat().st_mode & 0o777 == 0o640


# -- killed


class Site:
    """Three volumes, and runs that are struck at their calls."""

    def __init__(self, loaded: Loaded, top: Path) -> None:
        self._loaded, self._top = loaded, top
        self.maps = top / "maps"
        shutil.rmtree(top, ignore_errors=True)
        top.mkdir()
        self.entries = {volume: v1_entries(4, volume) for volume in VOLUMES}
        for volume, entries in self.entries.items():
            put(self.maps, PREFIX + volume, v1(entries))
        self.before = snapshot(self.maps)

    @property
    def fired(self) -> str:
        report = self._top / "report"
        return report.read_text() if report.exists() else ""

    def run(self, *words: object, at: int = 0, how: str = "kill") -> Ended:
        """Run *words*, or the upgrade; strike it at the *at*-th changing call."""
        (self._top / "report").unlink(missing_ok=True)
        fault = {"FAIL_UNDER": str(self.maps), "FAIL_AT": str(at), "FAIL_HOW": how,
                 "FAIL_REPORT": str(self._top / "report")}  # fmt: skip
        args = words or [*arguments(self.maps), "--jobs", 1]
        return self._loaded.start(self._top / "state", *args, env=fault).wait()

    def check_whole(self) -> None:
        for volume, entries in self.entries.items():
            found = read_volume(self.maps, volume)
            assert found.entries == from_v1(entries), self.fired


@pytest.fixture
def site(backend: str, tmp_path: Path) -> Iterator[Callable[[], Site]]:
    memory = Path("/dev/shm")
    loaded = Loaded(backend, tmp_path, "fail_at")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        yield lambda: Site(loaded, Path(directory) / "site")
    loaded.close()


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["kill", "after", "EIO", "ENOSPC"])
def test_every_volume_of_a_batch_is_whole_at_every_call(site: Callable[[], Site], how: str) -> None:
    for at in strikes(STEP):
        struck = site()
        ended = struck.run(at=at, how=how)
        if not struck.fired:
            break
        assert ended.status == KILLED if how in ("kill", "after") else ended.status in (0, 1, 3)
        assert "Traceback" not in ended.err
        struck.check_whole()
        again = struck.run()
        finished(again, VOLUMES)
        struck.check_whole()
        left = struck.run("undo", "--json")
        assert left.status == 0, left.err
        assert contents(snapshot(struck.maps)) == contents(struck.before), struck.fired
    finished(ended, VOLUMES)
    assert at > 12 * len(VOLUMES)
