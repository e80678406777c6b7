"""The nfs backend on nfs-ganesha: what it leaves, how many calls it makes, what it survives."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.testshare import make_share
from tests.nfs import fake
from tests.nfs.ganesha import Ganesha
from tests.nfs.latency import Latency
from tests.perms.test_failures import check_names_fail_each_for_itself
from tests.perms.test_guide import as_undone, both_states, changes, ctimes
from tests.support import crafted_tree as crafted
from tests.support.inprocess import Program
from tests.support.program import GID, Cli, attrs, drift
from tests.support.thinned import fewer

VERSIONS = (3, 4)
nfs = pytest.importorskip("archipmigrate.backend.nfs")
pytestmark = pytest.mark.privileged

Serve = Callable[..., Ganesha]
PATIENCE = 60.0
FLAT = 20_000
TOGETHER = 32  # changes that ganesha takes in one compound of version 4


@pytest.fixture(params=VERSIONS, ids=["v3", "v4"])
def version(request: pytest.FixtureRequest) -> int:
    """Each version of the protocol in turn."""
    return int(request.param)


def build(root: Path) -> Path:
    """Make a crafted tree, but for what ganesha takes for referrals: sticky and not searchable."""
    crafted.build(root)
    for name in ("1000", "1000.group"):
        (root / "directories" / name).chmod(0o1700)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A crafted tree."""
    return build(tmp_path / "tree")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many calls each run made, by procedure."""
    made: list[list[int]] = []
    close = nfs.NfsBackend.close

    def count(self: object) -> None:
        made.append(self.calls())  # type: ignore[attr-defined]
        close(self)

    monkeypatch.setattr(nfs.NfsBackend, "close", count)
    return made


def perms(program: Program, url: str, *args: object) -> dict[str, object]:
    ended = program("perms", "--json", "--no-progress", "--group", GID, *args, url)
    assert (ended.status, ended.err) == (0, "")
    return ended.summary


# -- what it leaves


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_end_state_and_tally_are_those_of_the_native_backend(
    version: int,
    ganesha: Serve,
    tmp_path: Path,
    tree: Path,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    narrow: bool,
) -> None:
    if narrow:
        monkeypatch.setattr("archipmigrate.engine.throttle.MOST_ENTRIES", 3)
        monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 2)
        monkeypatch.setattr("archipmigrate.engine.frontier.MEMORY", 256)
        monkeypatch.setattr("archipmigrate.engine.frontier.LARGE_BODY", 128)
        monkeypatch.setattr("archipmigrate.backend.nfs.WIDE", 5)
    other = build(tmp_path / "other")
    before = both_states(tree)
    expected = program.perms(other).summary
    url = ganesha(tree).url(version)
    dry = perms(program, url, "--dry-run")
    assert both_states(tree) == before
    found = perms(program, url)
    # ACLs and capabilities are not looked for over NFS: no notices of them.
    own = {"run", "share", "backend", "nfs_version", "seconds", "dry_run", "notices"}
    for summary in (dry, found):
        assert {k: v for k, v in summary.items() if k not in own} == {
            k: v for k, v in expected.items() if k not in own
        }
    native, direct = both_states(other), both_states(tree)
    odd = {b"odd/to-outside-file", b"odd/to-outside-directory"}  # the length of their targets
    assert {path for path in native if native[path] != direct[path]} <= odd
    assert program("verify", "--json", "--group", GID, url).summary["drift"] == 0
    undone = program("undo", "--json").summary
    assert undone["changed"] + undone["skipped"] == found["changed"]
    back, after = as_undone(before, direct), both_states(tree)
    del back[b"acl/capable"], after[b"acl/capable"]  # a file's capability cannot come back
    assert after == back


def test_what_complies_is_not_touched(
    version: int, ganesha: Serve, tree: Path, program: Program
) -> None:
    url = ganesha(tree).url(version)
    perms(program, url)
    before = ctimes(tree)
    assert perms(program, url)["changed"] == 0
    assert ctimes(tree) == before


def test_dry_run_lists_what_the_run_lists(
    version: int, ganesha: Serve, tree: Path, program: Program
) -> None:
    url = ganesha(tree).url(version)
    options = ("--json", "--list", "--group", GID, "--jobs", 1, url)
    dry = changes(program("perms", "--dry-run", *options))
    real = changes(program("perms", *options))
    assert len(real) > 200
    assert sorted(map(str, dry)) == sorted(map(str, real))


def test_excludes_and_hard_links_are_left_alone(
    version: int, ganesha: Serve, tree: Path, program: Program
) -> None:
    summary = perms(
        program, ganesha(tree).url(version), "--exclude", "nested", "--hard-links", "skip"
    )
    states = both_states(tree)
    assert summary["skipped"] == 9
    assert states[b"nested/0/file"].gid == states[b"links/twice"].gid == 1000
    assert states[b"files/0644"].gid == GID


def test_part_of_an_export_can_be_the_share(
    version: int, ganesha: Serve, tree: Path, program: Program
) -> None:
    url = ganesha(tree).url(version).replace("?", "/names%20and/links?").replace("/names%20and", "")
    perms(program, url)
    states = both_states(tree)
    assert states[b"links/twice"].gid == GID
    assert states[b"files/0644"].gid != GID


# -- how many calls it makes


def test_filed_layout_takes_one_listing_a_directory_and_one_change_an_entry(
    version: int, ganesha: Serve, share: Path, program: Program, calls: list[list[int]]
) -> None:
    make_share(str(share), objects=4000, volumes=3)
    entries = len(attrs(share))
    directories = sum(path.is_dir() for path in share.rglob("*")) + 1
    url = ganesha(share).url(version)
    assert perms(program, url)["changed"] == entries
    assert perms(program, url)["compliant"] == entries
    everything, nothing = calls
    assert directories <= everything[fake.READDIRPLUS] <= 1.01 * directories
    together = 1 if version == 3 else TOGETHER
    # Beside these: a LOOKUP and a GETATTR for directories that are changed after what is in them,
    # and calls with few changes at the ends of units. Those end by time: here it is 0.05 and 0.01.
    assert sum(everything) <= entries / together + directories + 0.25 * entries
    assert everything[fake.SETATTR] <= (1 / together + 0.1) * entries
    assert sum(nothing) <= directories + 0.05 * entries
    assert drift(share) == []


@pytest.mark.parametrize("path", ["pseudo", "own"])
def test_version_4_is_preferred_where_it_leads_to_the_share(
    ganesha: Serve, share: Path, program: Program, calls: list[list[int]], path: str
) -> None:
    make_share(str(share), objects=500, volumes=0)
    entries = len(attrs(share))
    url = ganesha(share).url(4 if path == "pseudo" else 3)
    perms(program, url.rpartition("&")[0])
    assert drift(share) == []
    assert (calls[0][fake.SETATTR] < entries / 2) == (path == "pseudo")


def test_flat_directory_takes_few_listings(
    version: int, ganesha: Serve, share: Path, program: Program, calls: list[list[int]]
) -> None:
    for number in range(FLAT):
        (share / f"archip_{number:064x}").touch()
    url = ganesha(share).url(version)
    assert perms(program, url)["changed"] == FLAT + 1
    assert program("undo", "--json").summary["changed"] == FLAT + 1
    (made, undone) = calls
    assert made[fake.READDIRPLUS] <= 0.008 * FLAT
    together = 1 if version == 3 else TOGETHER
    assert sum(made) <= (1 / together + 0.01) * FLAT
    assert (
        sum(undone) <= (1 + 1 / together + 0.15) * FLAT
    )  # how many go together is a matter of time


@pytest.mark.parametrize("counted", [False, True])
def test_names_of_a_directory_that_cannot_be_opened_again_fail_each_for_itself(
    version: int, ganesha: Serve, share: Path, *, counted: bool
) -> None:
    check_names_fail_each_for_itself(ganesha(share).url(version), "nfs", counted=counted)


# -- what it survives


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["filed", "flat"])
def test_killed_runs_are_resumed_and_undone(
    version: int, ganesha: Serve, share: Path, state: Path, layout: str
) -> None:
    if layout == "filed":
        make_share(str(share), objects=2500, volumes=0)
    else:  # one lane reads on while others act
        for number in range(FLAT):
            (share / f"archip_{number:064x}").touch()
    before = attrs(share)
    server, rng = ganesha(share), random.Random(1)
    cli = Cli("auto", state)
    kills = 0
    with Latency(server.port, 0.002) as proxy:
        url = server.url(version, port=proxy.port)
        for command in (("perms", "--group", GID, url), ("undo",)):
            for most in (0.6, 0.9, 1.2, 1.5, PATIENCE):
                running = cli.start(*command, "--json", stdout=subprocess.PIPE)
                try:
                    out, _ = running.communicate(timeout=rng.uniform(most / 2, most))
                    break
                except subprocess.TimeoutExpired:
                    running.kill()
                    running.communicate()
                    kills += 1
            # 2: the one that was killed had just ended, and nothing is left to undo.
            assert running.returncode in ((0,) if command[0] == "perms" else (0, 2))
            if command[0] == "perms":
                assert drift(share) == []
                summary = json.loads(out.splitlines()[-1])
                counts = [summary[name] for name in ("entries", "changed", "compliant", "failed")]
                if summary["resumed"]:
                    assert counts == [len(before), len(before), 0, 0]
                else:  # those that were killed had just ended, or had not begun
                    done = [len(before), 0, len(before), 0], [len(before), len(before), 0, 0]
                    assert counts in done
    assert attrs(share) == before
    assert kills >= 2


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["cut", "restart"])
def test_connections_that_break_are_made_again(
    version: int, ganesha: Serve, share: Path, program: Program, trouble: str
) -> None:
    make_share(str(share), objects=fewer(4000), volumes=0)
    entries = len(attrs(share))
    server = ganesha(share)
    ended = threading.Event()
    with Latency(server.port, 0.001) as proxy:

        def disturb() -> None:
            while not ended.wait(0.15):
                if trouble == "cut":
                    proxy.cut()
                else:
                    server.restart()

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        try:
            summary = perms(program, server.url(version, port=proxy.port))
        finally:
            ended.set()
            disturbing.join()
    assert (summary["changed"], summary["entries"], summary["failed"]) == (entries, entries, 0)
    assert drift(share) == []


def test_server_that_hangs_is_waited_for(
    version: int, ganesha: Serve, share: Path, program: Program
) -> None:
    make_share(str(share), objects=500, volumes=0)
    server = ganesha(share)
    url = server.url(version)
    paused = threading.Timer(0.1, server.pause)
    resumed = threading.Timer(1.5, server.resume)
    paused.start()
    resumed.start()
    began = time.monotonic()
    summary = perms(program, url, "--max-ops", 5000)
    paused.join()
    resumed.join()
    assert (summary["status"], time.monotonic() - began >= 1) == ("done", True)
    assert drift(share) == []


def test_interrupt_while_the_server_hangs_ends_the_run(
    version: int, ganesha: Serve, share: Path, state: Path
) -> None:
    make_share(str(share), objects=2000, volumes=0)
    server = ganesha(share)
    cli = Cli("auto", state)
    running = cli.start(
        "perms", "--json", "--dry-run", "--max-ops", 2000, "--group", GID, server.url(version)
    )
    time.sleep(1)
    server.pause()
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    assert running.wait(20) == 130
    server.resume()


# -- refusals


def test_squashed_root_is_stopped_and_can_be_resumed(
    version: int, ganesha: Serve, share: Path, program: Program
) -> None:
    make_share(str(share), objects=50, volumes=0)
    os.chmod(share, 0o755)
    server = ganesha(share, squash="Root_Squash")
    ended = program("perms", "--json", "--group", GID, server.url(version))
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)
    allowed = program("perms", "--json", "--group", GID, server.url(version) + "&uid=0&gid=0")
    assert allowed.status == 1


def test_read_only_share_is_stopped(
    version: int, ganesha: Serve, share: Path, program: Program
) -> None:
    (share / "file").touch(mode=0o600)
    server = ganesha(share, read_only=True)
    ended = program("perms", "--json", "--group", GID, server.url(version))
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("version=3", "version=2"), "version is from"),
        (("version=3", "versoin=3"), "unknown option versoin"),
        (("127.0.0.1", ""), "write nfs://"),
        (("127.0.0.1", "no.such.host.invalid"), "address"),
        (("/share?", "/elsewhere?"), "mount"),
        (("mountport=", "mountport=1&timeout="), "from 1 to 3600"),
    ],
)
def test_url_that_leads_nowhere_is_refused(
    ganesha: Serve, share: Path, program: Program, change: tuple[str, str], said: str
) -> None:
    url = ganesha(share).url().replace(*change)
    ended = program("perms", "--group", GID, url)
    assert ended.status == 1
    assert said in ended.err


def test_url_and_backend_must_fit(
    ganesha: Serve, share: Path, program: Program, state: Path
) -> None:
    url = ganesha(share).url()
    assert program("perms", "--group", GID, "--backend", "python", url).status == 2
    assert program("perms", "--group", GID, "--backend", "nfs", share).status == 2
    assert list(state.glob("perms-*")) == []
    assert program("perms", "--group", GID, "--backend", "nfs", url).status == 0
    assert list(state.glob("perms-*")) != []
    assert "this needs a mount" in program("mapfiles", "--maps", url).err


# -- a server, or what is between, that spoils some bytes


class Spoiler:
    """A proxy on the loopback that changes some of what the server says."""

    def __init__(self, target: int, seed: int) -> None:
        self._target, self._rng = target, random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                for ends, spoils in (((near, far), False), ((far, near), True)):
                    threading.Thread(target=self._pass, args=(*ends, spoils), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, spoils: bool) -> None:
        heard = 0
        with source, sink, contextlib.suppress(OSError):
            while got := bytearray(source.recv(1 << 16)):
                heard += len(got)
                # The first replies lead to the share.
                if spoils and heard > 2000 and self._rng.random() < 0.3:
                    for _ in range(self._rng.randrange(1, 5)):
                        at = self._rng.randrange(len(got))
                        got[at] = self._rng.choice((0, 1, 2, 9, 127, 128, 255))
                sink.sendall(got)


@pytest.mark.parametrize("seed", range(3))
def test_replies_with_wrong_bytes_are_survived(
    version: int, ganesha: Serve, share: Path, program: Program, seed: int
) -> None:
    make_share(str(share), objects=100, volumes=0)
    server = ganesha(share)
    spoiler = Spoiler(server.port, seed)
    url = server.url(version, port=spoiler.port) + "&timeout=1"
    for options in (("--dry-run",), ()):
        ended = program("perms", "--json", "--jobs", 1, "--group", GID, *options, url)
        assert ended.status in (0, 1, 3)
    spoiler.close()
