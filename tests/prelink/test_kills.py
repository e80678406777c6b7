"""Killed or failing at any call, a phase of prelink loses nothing, and the same command ends it.

fail_at.c kills the run in place of its n-th call that changes anything below the share, or after
it, or makes that call fail; with renames in one step, and without them as on NFS.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.kill import Loaded
from tests.support.old_shares import put
from tests.support.prelinked import STEP, Site
from tests.support.program import Ended
from tests.support.thinned import strikes

pytestmark = [pytest.mark.privileged, pytest.mark.slow]
KILLED = -9
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMLINK")
PHASES = ("link", "switch", "drop", "back", "undo")
ENDS = {"link": "link", "switch": "linked", "drop": "dropped", "back": "link"}
each_way = pytest.mark.parametrize("links", [False, True], ids=["rename", "link"])
each_phase = pytest.mark.parametrize("phase", PHASES)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    loaded = Loaded("auto", tmp_path_factory.mktemp("loaded"), "fail_at")
    yield loaded
    loaded.close()


@dataclass(slots=True)
class Struck:
    """A share in front of a phase, whose next call of the program may be struck."""

    loaded: Loaded
    top: Path
    phase: str
    links: bool
    site: Site = field(init=False)
    served: dict[str, bytes] = field(default_factory=dict)
    contents: set[bytes] = field(default_factory=set)
    fault: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the share, and take it in front of the phase."""
        (self.top / "state").mkdir(mode=0o700, parents=True)
        self.site = site = Site(self.top / "share", self._call)
        put(site.maps / "keep", b"")
        for volume, blocks in (("volume-one", 2), ("volume-two", 2), ("volume-gone", 1)):
            for number in range(blocks):
                site.write(volume, number, f"{volume} {number}".encode())
            site.write_map(volume, range(blocks))
        if self.phase != "link":
            self._done(site.link(), "link")
            time.sleep(STEP)
            self._live()
        if self.phase in ("drop", "back"):
            self._done(site.switch(), "linked")
            site.new("volume-two", 1).unlink()  # by v0.4
        if self.phase == "back":
            self._done(site.drop(), "dropped")
        volumes = ("volume-one", "volume-two", "volume-gone")[: 3 if self.phase == "link" else 1]
        serve = site.served_by_v04 if self.phase in ("drop", "back") else site.served_by_v03
        self.served = {volume: serve(volume) for volume in volumes}
        self.contents = self._contents()

    def _live(self) -> None:
        """Do what v0.3 does."""
        self.site.write("volume-one", 2, b"new")
        self.site.make_again("volume-one", 1, b"made again")
        self.site.write_map("volume-one", range(3))
        self.site.delete("volume-gone", range(1))

    def _call(self, *args: object) -> Ended:
        env = {"FAIL_RENAMEAT2": "1"} if self.links else {}
        return self.loaded.start(
            self.top / "state", *args, "--jobs", 1, env={**env, **self.fault}
        ).wait()

    def _done(self, ended: Ended, phase: str) -> None:
        assert (ended.status, ended.summary["phase"]) == (0, phase), ended.out + ended.err

    def _contents(self) -> set[bytes]:
        """Return the contents of all blocks, wherever they are, and of maps.

        A block that has just been exchanged has the temporary name, which begins with a dot.
        """
        files = [*self.site.blocks.rglob("*archip_*"), *self.site.maps.rglob("*archip_*")]
        return {path.read_bytes() for path in files if path.is_file()}

    @property
    def fired(self) -> str:
        """The call that was struck; empty if there was none."""
        report = self.top / "report"
        return report.read_text() if report.exists() else ""

    def run(self, at: int = 0, how: str = "kill") -> Ended:
        """Do the phase; strike the *at*-th changing call."""
        report = self.top / "report"
        report.unlink(missing_ok=True)
        self.fault = {"FAIL_UNDER": str(self.top / "share"), "FAIL_AT": str(at), "FAIL_HOW": how,
                      "FAIL_REPORT": str(report)}  # fmt: skip
        try:
            if self.phase == "undo":
                return self._call("undo", "--json")
            run: Callable[[], Ended] = getattr(self.site, self.phase)
            return run()
        finally:
            self.fault = {}

    def check_whole(self) -> None:
        """Check that nothing is lost, and that v0.3 has its blocks until they go."""
        assert self._contents() >= self.contents, self.fired

    def check_done(self, ended: Ended) -> None:
        """Check that the phase is over."""
        assert ended.status == 0, f"{self.fired}{ended.out}{ended.err}"
        self.check_whole()
        site = self.site
        if self.phase != "undo":
            assert ended.summary["phase"] == ENDS[self.phase], self.fired
        places = [*([site.served_by_v03] if self.phase != "drop" else ()),
                  *([site.served_by_v04] if self.phase == "drop" else ())]  # fmt: skip
        if self.phase == "switch":
            places = [site.served_by_v04]
        for serve, volume in itertools.product(places, self.served):
            assert serve(volume) == self.served[volume], self.fired
        assert not list(site.top.rglob("*.archipmigrate")), self.fired
        assert not site.old("volume-gone", 0).exists() or self.phase == "link", self.fired
        if self.phase in ("switch", "drop", "back"):
            kept = [site.kept(s) for s in ("deleted-v03", "remade", "deleted-v04")]
            due = [1, 1, 0 if self.phase == "switch" else 1]
            assert [len(found) for found in kept] == due, self.fired


Sites = Callable[[], Struck]


@pytest.fixture
def sites(loaded: Loaded, phase: str, links: bool, tmp_path: Path) -> Iterator[Sites]:
    """Yield a maker of fresh shares, in memory if possible: SIGKILL keeps the page cache."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as directory:
        top = Path(directory) / "site"

        def fresh() -> Struck:
            shutil.rmtree(top, ignore_errors=True)
            return Struck(loaded, top, phase, links)

        yield fresh


def struck(sites: Sites, ways: Sequence[str], step: int = 1) -> Iterator[tuple[Struck, Ended, str]]:
    """Yield shares whose phase was struck at each *step*-th call, with the ways in turn.

    Check the one that was not.
    """
    for at, how in zip(strikes(step), itertools.cycle(ways), strict=False):
        site = sites()
        ended = site.run(at, how)
        if not site.fired:
            break
        yield site, ended, how
    site.check_done(ended)
    assert at > 5


def check_struck(site: Struck, ended: Ended, how: str) -> None:
    """Check what a call that was struck leaves, and that the same command ends it."""
    if how in ("kill", "after"):
        assert ended.status == KILLED
    else:
        assert ended.status in {0, 1, 3}, f"{site.fired}{ended.err}"
        assert "Traceback" not in ended.err
    site.check_whole()
    site.check_done(site.run() if ended.status else ended)


@each_way
@each_phase
def test_phase_struck_at_any_call_is_finished_by_the_same_command(sites: Sites) -> None:
    """Each call once: killed in its place or after it, or with one error after the other."""
    ways = [how for error in ERRORS for how in ("kill", error, "after")]
    for site, ended, how in struck(sites, ways):
        check_struck(site, ended, how)


@pytest.mark.long
@each_way
@each_phase
@pytest.mark.parametrize("how", ["kill", "after", *ERRORS])
def test_phase_struck_in_each_way_is_finished_by_the_same_command(sites: Sites, how: str) -> None:
    for site, ended, _ in struck(sites, [how]):
        check_struck(site, ended, how)


@each_way
@pytest.mark.parametrize("phase", ["switch"])
def test_switch_killed_at_any_call_is_taken_back(sites: Sites) -> None:
    for site, ended, _ in struck(sites, ["kill"], step=3):
        assert ended.status == KILLED
        back = site.site.back()
        assert back.status in {0, 1}, f"{site.fired}{back.out}{back.err}"
        for volume, content in site.served.items():
            assert site.site.served_by_v03(volume) == content, site.fired
