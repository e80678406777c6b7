"""Whether a mount may be bypassed, and where its server has the share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipmigrate import share as shares
from archipmigrate.errors import ShareError
from archipmigrate.journal.runs import new_run, open_run
from archipmigrate.share import Share, bypass, open_share
from archipmigrate.share.bypass import (
    Server,
    cached_seconds,
    path_on_server,
    refusal,
    server_of,
    ways,
)
from archipmigrate.share.mountinfo import parse_mount
from tests.support import map_shares as mapshare
from tests.support.inprocess import Program
from tests.support.map_runs import arguments

# Lines of mountinfo of Linux 6.1.
V3 = (
    r"35 28 0:31 / /srv/archip rw,relatime shared:1 - nfs server:/export rw,vers=3,rsize=131072,"
    "wsize=131072,namlen=255,hard,nolock,proto=tcp,timeo=600,retrans=2,sec=sys,"
    "mountaddr=10.1.2.4,mountvers=3,mountport=20048,mountproto=tcp,local_lock=all,addr=10.1.2.3\n"
)
V4 = (
    r"35 28 0:31 / /srv/a\040b rw,noatime - nfs4 [fd00::1]:/ rw,vers=4.2,rsize=131072,namlen=255,"
    "hard,proto=tcp6,port=2050,timeo=600,sec=sys,clientaddr=fd00::2,local_lock=none,addr=fd00::1\n"
)
INITIAL = "0 0 4294967295"


def share(line: str, path: bytes = b"/srv/archip/part") -> Share:
    return Share(path, -1, "", parse_mount(line))


@pytest.mark.parametrize("line", [V3, V4])
def test_usual_mounts_may_be_bypassed(line: str) -> None:
    assert refusal(share(line), 0, INITIAL, [b"/", b"/srv/archip", b"/srv/archip/partly"]) == ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rw,relatime", "ro,relatime", "mounted read-only"),
        ("export rw", "export ro", "mounted read-only"),
        ("rw,relatime", "rw,relatime,idmapped", "mounted with mapped ids"),
        ("vers=3", "vers=2", "vers=2"),
        ("proto=tcp,timeo", "proto=udp,timeo", "proto=udp"),
        ("proto=tcp,timeo", "proto=rdma,timeo", "proto=rdma"),
        ("proto=tcp,timeo", "timeo", "proto=unknown"),
        ("sec=sys", "sec=krb5i", "sec=krb5i"),
        ("sec=sys,", "", "sec=unknown"),
        ("sec=sys", "sec=sys,xprtsec=mtls", "xprtsec=mtls"),
        ("sec=sys", "sec=sys,xprtsec=none", ""),
        (",addr=10.1.2.3", ",addr=server", "addr=server"),
        (",addr=10.1.2.3", "", "addr=unknown"),
    ],
)
def test_mount_that_differs_in_one_option_may_be_bypassed_or_not(
    old: str, new: str, said: str
) -> None:
    changed = V3.replace(old, new)
    assert changed != V3
    assert refusal(share(changed), 0, INITIAL, []) == said


@pytest.mark.parametrize(
    ("uid", "uid_map", "points", "said"),
    [
        (1000, INITIAL, [], "not root"),
        (0, "0 1000 1", [], "root in a user namespace only"),
        (0, "0 100000 65536", [], "root in a user namespace only"),
        (0, INITIAL + " " + INITIAL, [], "root in a user namespace only"),
        (0, INITIAL, [b"/srv/archip/part/x/y"], "something is mounted on /srv/archip/part/x/y"),
    ],
)
def test_caller_and_mounts_below_are_looked_at(
    uid: int, uid_map: str, points: list[bytes], said: str
) -> None:
    assert refusal(share(V3), uid, uid_map, points) == said


def test_server_is_the_one_that_the_mount_speaks_to() -> None:
    assert server_of(share(V3).mount) == Server("10.1.2.3", 0, 3, "10.1.2.4", 20048)
    assert server_of(share(V4).mount) == Server("fd00::1", 2050, 4, "fd00::1", 0)


@pytest.mark.parametrize(
    ("line", "path", "there"),
    [
        (V3, b"/srv/archip", b"/export"),
        (V3, b"/srv/archip/part/x y", b"/export/part/x y"),
        (V3, b"/srv/archipelago", b""),  # mounted over, or another mount's
        (V4, b"/srv/a b/c", b"/c"),
        (V4, b"/srv/a b", b"/"),
        (V3.replace("server:/export", r"fd00::1:/ex\040port/\134"), b"/srv/archip", b"/ex port/\\"),
        (V3.replace(" /srv/archip ", " / "), b"/part", b"/export/part"),
        (V3.replace("server:/export", "none"), b"/srv/archip", b""),
        (V3.replace("server:", "a\udcff:"), b"/srv/archip/\xff", b"/export/\xff"),
    ],
)
def test_path_on_the_server_is_the_sources_and_what_is_below_the_mount(
    line: str, path: bytes, there: bytes
) -> None:
    assert path_on_server(parse_mount(line), path) == there


def test_mount_believes_what_it_knows_for_a_minute_or_as_its_options_say() -> None:
    assert cached_seconds(parse_mount(V3)) == 61
    assert cached_seconds(parse_mount(V3.replace("hard", "hard,acregmax=3"))) == 61
    assert cached_seconds(parse_mount(V3.replace("hard", "hard,acregmax=3,acdirmax=5"))) == 6


def test_version_4_is_tried_first_and_the_handle_where_it_is_that_versions() -> None:
    assert list(ways(3, b"h", b"/p")) == [(4, b""), (3, b"h"), (3, b"")]
    assert list(ways(4, b"h", b"/p")) == [(4, b"h"), (4, b""), (3, b"")]
    assert list(ways(3, b"", b"/p")) == [(4, b""), (3, b"")]
    assert list(ways(3, b"h", b"")) == [(3, b"h")]
    assert list(ways(4, b"", b"")) == []


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Share]]:
    """Call with a line of mountinfo: return a share with that mount, and a local root."""
    root = open_share(str(tmp_path))
    monkeypatch.setattr(bypass, "mount_points", list)

    def make(line: str) -> Share:
        return Share(b"/srv/archip", root.fd, "", parse_mount(line))

    yield make
    root.close()


@pytest.mark.privileged
def test_server_that_does_not_answer_is_asked_once(mounted: Callable[[str], Share]) -> None:
    pytest.importorskip("archipmigrate._nfs")
    line = V3.replace("addr=10.1.2.3", "addr=127.0.0.1,port=1")
    with pytest.raises(ShareError, match=r"^NFSv4.0: lookup: Connection refused$"):
        bypass.open_direct(mounted(line), "")


# -- waiting for the mount


@pytest.fixture
def options() -> str:
    """Options of the mount, which do not allow the bypass."""
    return "rw,vers=4.2"


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str) -> Path:
    """A directory that is presented as an NFS mount."""
    at = tmp_path / "mount"
    at.mkdir()
    real = shares.mount_of

    def mount_of(fd: int) -> shares.Mount:
        found = real(fd)
        below = os.readlink(f"/proc/self/fd/{fd}").startswith(str(at))
        return shares.Mount("nfs", "server:/export", options, str(at)) if below else found

    monkeypatch.setattr(shares, "mount_of", mount_of)
    return at


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long sessions waited for the mount, in seconds; the clock stands still meanwhile."""
    seconds: list[int] = []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(time, "sleep", lambda left: seconds.append(round(left)))
    return seconds


def direct_run(state: Path, ago: float) -> str:
    """Make a run of some share that bypassed its mount and ended *ago* seconds ago."""
    journal = new_run(state, "perms", Share(b"/srv", -1, "nfs:other:/srv#1", parse_mount(V3)), {})
    header = journal.read_header()
    header.backend, header.status = "nfs", "done"
    journal.commit([lambda j: j.write_header(header)])
    path = journal.path
    journal.close()
    assert path
    os.utime(path, (time.time() - ago,) * 2)
    return header.run


@pytest.mark.parametrize(("ago", "left"), [(0, [61]), (20, [41]), (62, []), (-3600, [61])], ids=str)
def test_mount_is_waited_for_after_any_direct_run_also_if_the_clock_was_set_back(
    state: Path, mount: Path, waited: list[int], ago: float, left: list[int]
) -> None:
    direct_run(state, ago)
    assert Program("native", state).verify(mount).status == 4
    assert waited == left


def test_resume_of_a_direct_run_of_long_ago_waits_for_nothing(
    state: Path, mount: Path, waited: list[int]
) -> None:
    program = Program("native", state)
    assert program.perms(mount).status == 0
    (path,) = state.glob("*.journal")
    journal = open_run(state, path.stem)
    header = journal.read_header()
    header.backend, header.status = "nfs", "interrupted"
    journal.commit([lambda j: j.write_header(header)])
    journal.close()
    os.utime(path, (time.time() - 100,) * 2)
    assert program("resume", "--json").status == 0
    assert waited == []


@pytest.mark.privileged
def test_mapfiles_and_its_undo_wait_for_the_mount(
    state: Path, mount: Path, waited: list[int]
) -> None:
    """They keep mode and group of maps, to give them to what they put in their place."""
    mapshare.put(mount, "archip_foobar", mapshare.v1(mapshare.v1_entries(4)))
    direct_run(state, -600)  # by a clock that was set back: the longest wait, however late it is
    program = Program("auto", state)
    assert program(*arguments(mount), "--dry-run").status == 0
    assert waited == []
    assert program(*arguments(mount)).status == 0
    assert waited == [61]
    assert program("undo", "--json").status == 0
    assert waited == [61, 61]


# -- the domain of owner names

DOMAIN = ("--nfs4-domain", "example.org")


def test_domain_is_kept_for_resume_and_undo_and_another_is_another_run(
    state: Path, mount: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = []

    def open_direct(_: Share, domain: str) -> Share:
        domains.append(domain)
        raise ShareError("not here")

    monkeypatch.setattr("archipmigrate.session.reach.open_direct", open_direct)
    program = Program("auto", state)
    assert program.perms(mount, *DOMAIN).status == 0
    (path,) = state.glob("*.journal")
    journal = open_run(state, path.stem)
    header = journal.read_header()
    header.status = "interrupted"
    journal.commit([lambda j: j.write_header(header)])
    journal.close()
    assert "has other options" in program.perms(mount).err
    assert program("resume", path.stem).status == 0
    assert program("undo", path.stem).status == 0
    assert domains == ["example.org", "", "example.org", "example.org"]


@pytest.mark.parametrize("options", ["rw,vers=3"])
def test_numbers_of_a_mount_are_not_taken_where_names_are_to_be_mapped(
    state: Path, mount: Path, options: str
) -> None:
    ended = Program("auto", state).perms(mount, *DOMAIN)
    assert ended.status == 1
    assert "this mount is v3 and shows the server's numbers" in ended.err
    assert not list(state.glob("*.journal"))
