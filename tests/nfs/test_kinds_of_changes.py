"""Changes that a server accepts and makes in part: the first one of each kind is read back.

By version 3 a reply has the attributes that came of a change, if the server tells them; by version
4 a change that is read back takes a call of its own.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from tests.nfs import fake, fake4
from tests.nfs.fake import Fake, Node
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID, Ended
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")

EACH = 7  # entries of each kind: with version 4 more than one call makes
# What makes entries of one kind: whether it is a directory, its mode, its group.
KINDS = {
    "group and mode of files": (False, 0o600, 1000),
    "group of files": (False, 0o660, 1000),
    "mode of files": (False, 0o600, GID),
    "group, mode and set-gid of directories": (True, 0o700, 1000),
    "group and mode of directories": (True, 0o2700, 1000),
    "mode and set-gid of directories": (True, 0o770, GID),
    "mode of directories": (True, 0o2700, GID),
}
ALL = EACH * len(KINDS) + 1  # and the root
OPENING = 2  # GETATTRs of the root by version 3
VERSIONS = [(3, True), (3, False), (4, True)]
each_version = pytest.mark.parametrize(("version", "tells_after"), VERSIONS)


class Spoiled(Node):
    """An entry that takes new values as `spoil` lets it."""

    spoil: ClassVar[Callable[[Node, str, int], int] | None] = None

    def __setattr__(self, name: str, value: Any) -> None:
        if Spoiled.spoil and name in ("mode", "gid"):
            value = Spoiled.spoil(self, name, value)
        super().__setattr__(name, value)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """A server of a directory with some entries of each kind."""
    monkeypatch.setattr(fake, "Node", Spoiled)
    monkeypatch.setattr(Spoiled, "spoil", None)
    with Fake() as made_server:
        made_server.version4 = Version4()
        made_server.root.gid = 1000
        for number, (is_directory, mode, gid) in enumerate(KINDS.values()):
            make = made_server.directory if is_directory else made_server.file
            for index in range(EACH):
                make(b"%d-%d" % (number, index), mode).gid = gid
        yield made_server


def perms(program: Program, server: Fake, version: int) -> Ended:
    return program("perms", "--json", "--jobs", 1, "--group", GID, server.url(version))


def entries_of(server: Fake, kind: str) -> list[Node]:
    number = list(KINDS).index(kind)
    return [server.root.children[b"%d-%d" % (number, index)] for index in range(EACH)]


def changing_calls(server: Fake) -> int:
    """Return how many calls of version 4 made changes: each begins with the first of its PUTFH."""
    assert server.version4
    numbers, calls, at = server.version4.numbers, 0, 0
    for operations in server.version4.done:
        calls += fake4.SETATTR in numbers[at : at + operations]
        at += operations
    return calls


@each_version
def test_each_kind_of_change_is_read_back_once(
    program: Program, server: Fake, version: int, *, tells_after: bool
) -> None:
    server.tells_after = tells_after
    made(perms(program, server, version).summary["changed"] == ALL, "a run that changes all")
    if version == 4:  # five changes a call, but for the root's, which comes last
        assert changing_calls(server) <= len(KINDS) + math.ceil((ALL - len(KINDS)) / 5) + 1
    elif tells_after:
        assert server.calls[fake.GETATTR] <= OPENING
    else:
        assert len(KINDS) <= server.calls[fake.GETATTR] <= len(KINDS) + OPENING
    assert server.drift(GID) == []
    assert program("undo").status == 0
    for kind, (_, mode, gid) in KINDS.items():
        found = {(stat.S_IMODE(node.mode), node.gid) for node in entries_of(server, kind)}
        assert found == {(mode, gid)}


def spoil(monkeypatch: pytest.MonkeyPatch, what: str, entries: list[Node] | None = None) -> None:
    """Have the server drop something of each change, or of those of some entries."""

    def spoiled(node: Node, name: str, value: int) -> int:
        if entries is not None and not any(node is entry for entry in entries):
            return value
        if what == "set-gid":
            return value & ~stat.S_ISGID if name == "mode" and stat.S_ISDIR(value) else value
        is_dropped = name == {"mode": "mode", "group": "gid"}[what]
        return getattr(node, name, value) if is_dropped else value

    monkeypatch.setattr(Spoiled, "spoil", staticmethod(spoiled))


@each_version
@pytest.mark.parametrize(
    ("kind", "what"),
    [(kind, what) for kind in KINDS for what in ("mode", "group", "set-gid") if what in kind],
)
def test_kind_of_change_that_comes_out_differently_does_not_count_as_changed(
    program: Program,
    server: Fake,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    kind: str,
    what: str,
    *,
    tells_after: bool,
) -> None:
    server.tells_after = tells_after
    spoil(monkeypatch, what, entries_of(server, kind))
    ended = perms(program, server, version)
    left = server.drift(GID)
    made(left, "entries that are not as they must be")
    assert ended.status in (1, 3)
    assert ended.summary["changed"] == ALL - len(left)


@each_version
@pytest.mark.parametrize("what", ["mode", "group", "set-gid"])
def test_what_no_change_keeps_stops_the_run(
    program: Program,
    server: Fake,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    what: str,
    *,
    tells_after: bool,
) -> None:
    server.tells_after = tells_after
    before = {name: (node.mode, node.gid) for name, node in server.root.children.items()}
    spoil(monkeypatch, what)
    ended = perms(program, server, version)
    assert ended.status == 1
    failed = [f for f in ended.objects if f["type"] == "failure"]
    assert 1 <= len(failed) <= len(KINDS)  # one of each kind was in flight at most
    assert "wanted mode" in failed[0]["reason"]
    monkeypatch.setattr(Spoiled, "spoil", None)
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["skipped"]) == (0, 0)
    after = {name: (node.mode, node.gid) for name, node in server.root.children.items()}
    assert after == before
