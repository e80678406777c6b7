"""`perms --owner` by direct NFS calls: owner, group and mode in one SETATTR, and back."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archipmigrate.backend import nfs
from tests.nfs import fake
from tests.nfs.fake import Fake, Node
from tests.nfs.fake4 import Version4
from tests.nfs.ganesha import Ganesha
from tests.support.inprocess import Program
from tests.support.kill import count_off, expected_tally, migrated, tally_of, undone
from tests.support.odd_tree import odd_tree, put
from tests.support.program import GID, Ended, attrs
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")

UID = 54322  # of nobody, on any system
DOMAIN = "example.org"
NAMES = {0: b"root", 1: b"daemon", 2: b"bin", 3: b"sys"}  # users and groups of every Debian
EACH = 7  # entries of each kind: with version 4 more than one call makes
KINDS = [  # whether it is a directory; mode, owner, group
    (is_directory, mode, uid, gid)
    for is_directory, modes in ((False, (0o600, 0o660)), (True, (0o700, 0o2770)))
    for mode in modes
    for uid in (1000, UID)
    for gid in (1000, GID)
]
ALL = EACH * (len(KINDS) - 2) + 1  # what complies is of two kinds; and the root

each_version = pytest.mark.parametrize(
    ("version", "tells_after"), [(3, True), (3, False), (4, True)]
)


def as_number(text: bytes) -> int | None:
    """Return the number that an owner's text is."""
    return int(text) if text.isdigit() else None


@pytest.fixture
def server() -> Iterator[Fake]:
    """A server of a directory with some entries of each kind."""
    with Fake() as serving:
        serving.version4, serving.takes_owners = Version4(uids=as_number), True
        for number, (is_directory, mode, uid, gid) in enumerate(KINDS):
            make = serving.directory if is_directory else serving.file
            for index in range(EACH):
                node = make(b"%d-%d" % (number, index), mode)
                node.uid, node.gid = uid, gid
        yield serving


def perms(program: Program, url: str, *args: object) -> Ended:
    return program("perms", "--json", "--group", GID, "--owner", UID, *args, url)


def states(server: Fake) -> dict[bytes, tuple[int, int, int]]:
    nodes = {b"": server.root, **server.root.children}
    return {name: (node.mode, node.uid, node.gid) for name, node in nodes.items()}


@each_version
def test_owner_group_and_mode_come_in_one_call_and_go_back(
    program: Program, server: Fake, version: int, *, tells_after: bool
) -> None:
    server.tells_after = tells_after
    before, calls = states(server), server.calls
    url = server.url(version)
    dry = perms(program, url, "--dry-run")
    assert (dry.status, dry.summary["changed"], states(server)) == (0, ALL, before)
    ended = perms(program, url, "--jobs", 1)
    assert (ended.status, ended.err, ended.summary["changed"]) == (0, "", ALL)
    assert states(server) == migrated(before, UID)
    assert calls[fake.SETATTR] == (ALL if version == 3 else 0)
    verified = program("verify", "--json", "--group", GID, "--owner", UID, url)
    assert (verified.status, verified.summary["drift"]) == (0, 0)
    undo = program("undo", "--json", "--jobs", 1)
    assert (undo.status, undo.summary["changed"]) == (0, ALL)
    assert states(server) == before
    assert calls[fake.SETATTR] <= (2 * ALL + 4 * EACH if version == 3 else 0)


@each_version
def test_without_it_no_owner_is_sent(
    program: Program, server: Fake, version: int, *, tells_after: bool
) -> None:
    assert server.version4
    server.tells_after, server.takes_owners, server.version4.uids = tells_after, False, None
    before = states(server)
    assert program("perms", "--group", GID, server.url(version)).status == 0
    assert states(server) == migrated(before)
    assert program("undo").status == 0
    assert states(server) == before


@each_version
def test_owner_that_the_server_maps_stops_the_run_and_is_undone(
    program: Program,
    server: Fake,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    *,
    tells_after: bool,
) -> None:
    server.tells_after = tells_after
    before = states(server)
    plain = Node.__setattr__

    def squash(node: Node, name: str, value: object) -> None:
        plain(node, name, 65534 if (name, value) == ("uid", UID) else value)

    monkeypatch.setattr(Node, "__setattr__", squash)
    ended = perms(program, server.url(version), "--jobs", 1)
    assert ended.status == 1
    assert "owner 65534" in ended.out
    assert "maps ids" in ended.out
    made(any(uid == 65534 for _, uid, _ in states(server).values()), "an entry of another owner")
    monkeypatch.undo()
    undo = program("undo", "--json")
    assert (undo.status, undo.summary["skipped"]) == (0, 0)
    assert states(server) == before


@pytest.mark.parametrize("version", [3, 4])
def test_owner_that_somebody_gave_it_meanwhile_is_left(
    program: Program, server: Fake, version: int
) -> None:
    before = states(server)
    assert perms(program, server.url(version)).status == 0
    (other,) = [server.root.children[b"0-0"]]
    other.uid = 7
    undo = program("undo", "--json")
    assert (undo.status, undo.summary["skipped"]) == (3, 1)
    assert states(server) == before | {b"0-0": (other.mode, 7, GID)}


# -- names of owners, by version 4


class Named:
    """How a server of the domain writes and reads owners; `got` is what it was sent."""

    def __init__(self, server: Fake) -> None:
        self.names = dict(NAMES)
        self.got: set[bytes] = set()
        server.version4 = Version4(names=self.tell, gids=self.take, uids=self.take)
        for node in server._nodes.values():
            node.uid, node.gid = 1, 2

    def tell(self, number: int) -> bytes:
        """Return an owner's text."""
        return self.names[number] + b"@" + DOMAIN.encode()

    def take(self, text: bytes) -> int | None:
        """Return the number that is set."""
        self.got.add(text.lower())
        known = {self.tell(number): number for number in self.names}
        return known.get(text.lower())


@pytest.fixture
def named(server: Fake) -> Named:
    return Named(server)


def perms_named(program: Program, server: Fake, *args: object) -> Ended:
    url = server.url(0, domain=DOMAIN)
    return program("perms", "--json", "--group", "sys", "--owner", "bin", *args, url)


def test_owner_is_sent_by_its_name_and_put_back(
    program: Program, server: Fake, named: Named
) -> None:
    before = states(server)
    ended = perms_named(program, server)
    assert (ended.status, ended.summary["failed"]) == (0, 0)
    assert {(uid, gid) for _, uid, gid in states(server).values()} == {(2, 3)}
    assert named.got == {b"bin@example.org", b"sys@example.org"}
    undo = program("undo", "--json")
    assert (undo.status, states(server)) == (0, before)
    assert b"daemon@example.org" in named.got
    assert not server.calls


def test_owner_that_the_server_does_not_know_stops_the_run(
    program: Program, server: Fake, named: Named
) -> None:
    del named.names[2]
    for node in server._nodes.values():
        node.gid = 3
    ended = perms_named(program, server)
    assert ended.status == 1
    assert "the server refuses the owner or group" in ended.err


def test_owner_that_would_be_sent_otherwise_than_it_came_is_a_failure_only_if_owners_are_sent(
    program: Program, server: Fake, named: Named
) -> None:
    """It is told as 1, which is daemon here: undo would send that name."""
    odd = server.root.children[b"0-0"]
    odd.uid = 70
    assert server.version4
    server.version4.names = lambda number: b"1" if number == 70 else named.tell(number)
    before = states(server)
    ended = perms_named(program, server)
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert (ended.status, failure["path"], failure["errno"]) == (3, "0-0", errno.ENOTUNIQ)
    assert states(server)[b"0-0"] == before[b"0-0"]
    without = program("perms", "--json", "--group", "sys", server.url(0, domain=DOMAIN))
    assert (without.status, without.summary["failed"]) == (0, 0)
    assert odd.uid == 70


# -- a real server


Serve = Callable[..., Ganesha]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many calls each session made, by procedure."""
    counted: list[list[int]] = []
    close = nfs.NfsBackend.close

    def count(self: nfs.NfsBackend) -> None:
        counted.append(self.calls())
        close(self)

    monkeypatch.setattr(nfs.NfsBackend, "close", count)
    return counted


@pytest.mark.privileged
@pytest.mark.parametrize("version", [3, 4])
def test_real_server_ends_as_the_local_backends_do(
    program: Program, ganesha: Serve, share: Path, version: int, calls: list[list[int]]
) -> None:
    odd_tree(share)
    put(share / "c" / "only_owner", 0o6775, GID, uid=7)
    put(share / "c" / "all_right", 0o4660, GID, uid=UID)
    before, tally = attrs(share), expected_tally(share, UID)
    off = count_off(before, share, UID)
    tally.pop("hard_linked")
    ended = perms(program, ganesha(share).url(version))
    found = tally_of(ended)
    found.pop("hard_linked")
    assert (ended.status, found) == (0, tally)
    assert attrs(share) == migrated(before, UID)
    if version == 3:
        assert calls[0][fake.SETATTR] == tally["changed"]
    undo = program("undo", "--json")
    assert (undo.summary["changed"], undo.summary["skipped"]) == (tally["changed"] - off, off)
    assert attrs(share) == undone(before, UID)


@pytest.mark.privileged
def test_real_server_of_names_is_given_the_owners(
    program: Program, ganesha: Serve, share: Path
) -> None:
    put(share / "file", 0o600, 2, uid=1)
    put(share, 0o700, 2, uid=1)
    server = ganesha(share, domain=DOMAIN, pseudo=str(share))
    words = ["--group", "sys", "--owner", "bin", "--nfs4-domain", DOMAIN]
    url = server.url(4).rpartition("&")[0]
    before = attrs(share)
    ended = program("perms", "--json", *words, url)
    assert (ended.status, ended.summary["nfs_version"]) == (0, 4)
    assert {(uid, gid) for _, uid, gid in attrs(share).values()} == {(2, 3)}
    assert program("undo").status == 0
    assert attrs(share) == before


@pytest.mark.privileged
def test_squashed_root_is_told_so(program: Program, ganesha: Serve, share: Path) -> None:
    put(share / "file", 0o600)
    os.chmod(share, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    before = attrs(share)
    ended = perms(program, ganesha(share, squash="Root_Squash").url(3))
    assert (ended.status, ended.summary["changed"], attrs(share)) == (1, 0, before)
    assert "no_root_squash" in ended.out + ended.err
