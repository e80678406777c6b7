"""Owner names (RFC 7530, section 5.9): mapped by a domain, or avoided by version 3."""

from __future__ import annotations

import errno
import grp
from collections.abc import Iterator

import pytest

from tests.nfs import fake, fake4
from tests.nfs.fake import Call, Fake, Node
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import Ended

pytest.importorskip("archipmigrate._nfs")

DOMAIN = "example.org"
# Every Debian has these users and groups, with equal numbers.
NAMES = {0: b"root", 1: b"daemon", 2: b"bin", 3: b"sys"}
GIDS = {name: number for number, name in NAMES.items()}
GROUP, NEW = "sys", 3
UNNAMED = 54321  # no group's, here or there


class Speller:
    """How a server of the domain writes owners and reads groups; `got` is what it was sent."""

    def __init__(self, domain: str = DOMAIN, *, numbers: bool = False) -> None:
        self.names = dict(NAMES)
        self.domain, self.numbers = domain.encode(), numbers
        self.got: list[bytes] = []

    def tell(self, number: int) -> bytes:
        """Return an owner's text."""
        name = self.names.get(number)
        return name + b"@" + self.domain if name else b"%d" % number

    def take(self, text: bytes) -> int | None:
        """Return the gid that is set."""
        self.got.append(text)
        name, _, domain = text.partition(b"@")
        if text.isdigit() and (self.numbers or int(text) == UNNAMED):
            return int(text)
        known = {name: number for number, name in self.names.items()}
        return known.get(name) if domain.lower() == self.domain else None


@pytest.fixture
def speller() -> Speller:
    return Speller()


@pytest.fixture
def server(speller: Speller) -> Iterator[Fake]:
    """A server of some files in two directories; all owners but one have names."""
    with Fake() as made:
        made.version4 = Version4(names=speller.tell, gids=speller.take)
        for number in range(8):
            made.file(b"%d" % number)
        inner = made.directory(b"inner")
        for number in range(8):
            made.file(b"%d" % number, parent=inner)
        for node in made._nodes.values():
            node.uid, node.gid = 1, 2
        made.root.children[b"5"].gid = UNNAMED
        yield made


ALL = 18


def perms(program: Program, url: str, *args: object) -> Ended:
    return program("perms", "--json", "--group", GROUP, *args, url)


def mapped(server: Fake) -> str:
    return server.url(0, domain=DOMAIN)


def states(server: Fake) -> dict[int, tuple[int, int, int]]:
    nodes = (node for node in server._nodes.values() if node.number >= server.root.number)
    return {node.number: (node.mode, node.uid, node.gid) for node in nodes}


def failures(ended: Ended) -> dict[str, tuple[str, int, str]]:
    found = [f for f in ended.objects if f["type"] == "failure"]
    return {f["path"]: (f["operation"], f["errno"], f["reason"]) for f in found}


# -- with a domain


@pytest.mark.parametrize("given", ["option", "url", "environment"])
def test_names_of_the_domain_are_mapped_and_put_back(
    program: Program, server: Fake, speller: Speller, given: str
) -> None:
    before = states(server)
    url, words = server.url(4), []
    if given == "option":
        words = ["--nfs4-domain", DOMAIN]
    elif given == "url":
        url = mapped(server)
    else:
        program.env["ARCHIPMIGRATE_NFS4_DOMAIN"] = DOMAIN.upper()
    ended = perms(program, url, *words)
    assert (ended.status, ended.err, ended.summary["changed"]) == (0, "", ALL)
    assert server.drift(NEW) == []
    assert {text.lower() for text in speller.got} == {b"sys@example.org"}
    verified = program("verify", "--json", "--group", GROUP, *words, url)
    assert (verified.status, verified.summary["drift"]) == (0, 0)
    program.env.clear()
    undone = program("undo", "--json")  # the run knows its domain
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert states(server) == before
    assert b"%d" % UNNAMED in speller.got
    assert not server.calls


def test_owner_that_is_nobody_here_is_a_failure_of_its_entry(
    program: Program, server: Fake, speller: Speller
) -> None:
    speller.names |= {70: b"no-such-user-here"}
    odd = {path: server.root.children[path] for path in (b"2", b"3")}
    odd[b"2"].uid = odd[b"3"].gid = 70
    before = states(server)
    ended = perms(program, mapped(server))
    assert (ended.status, ended.summary["changed"]) == (3, ALL - 2)
    found = failures(ended)
    assert {path: why[:2] for path, why in found.items()} == {
        "2": ("stat", errno.ENOKEY),
        "3": ("stat", errno.ENOKEY),
    }
    assert "no-such-user-here@example.org" in found["2"][2]
    for node in odd.values():
        assert states(server)[node.number] == before[node.number]
    speller.names[70] = b"bin"
    again = program("resume", "--failed", "--json")
    assert (again.status, again.summary["changed"], server.drift(NEW)) == (0, ALL, [])


def test_directory_of_nobody_is_a_failure_and_not_entered(
    program: Program, server: Fake, speller: Speller
) -> None:
    speller.names |= {70: b"no-such-group-here"}
    server.root.children[b"inner"].gid = 70
    ended = perms(program, mapped(server))
    assert (ended.status, ended.summary["changed"]) == (3, ALL - 9)
    assert {path: why[:2] for path, why in failures(ended).items()} == {
        "inner": ("stat", errno.ENOKEY)
    }


def test_names_of_another_domain_are_nobody(program: Program, server: Fake) -> None:
    ended = perms(program, server.url(0, domain="example.net"))
    assert ended.status == 1
    assert "its owner or group is unknown on this host, or of another domain" in ended.err
    assert not server.calls  # of version 3, which would have numbers of its own


def test_group_that_would_be_sent_otherwise_than_it_came_is_a_failure(
    program: Program, server: Fake, speller: Speller
) -> None:
    del speller.names[1]  # told as 1, which is daemon here
    for node in server._nodes.values():
        node.uid = 2
    server.root.children[b"2"].gid = 1
    ended = perms(program, mapped(server))
    assert (ended.status, ended.summary["changed"]) == (3, ALL - 1)
    ((operation, number, note),) = failures(ended).values()
    assert (operation, number) == ("stat", errno.ENOTUNIQ)
    assert "first of these was 1" in note


def test_group_that_the_server_does_not_know_stops_the_run(
    program: Program, server: Fake, speller: Speller
) -> None:
    del speller.names[NEW]
    ended = perms(program, mapped(server))
    assert ended.status == 1
    assert "the server refuses the owner or group" in ended.err
    assert DOMAIN in ended.err
    assert len(speller.got) <= 4  # one a lane
    speller.names[NEW] = b"sys"
    again = program("resume", "--json")
    assert (again.status, again.summary["changed"]) == (0, ALL)


def test_old_group_that_the_server_forgot_is_one_failure_of_undo(
    program: Program, server: Fake, speller: Speller
) -> None:
    odd = server.root.children[b"2"]
    odd.gid = 1
    for node in server._nodes.values():
        node.uid = 2
    perms(program, mapped(server))
    del speller.names[1]
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (3, ALL - 1)
    assert failures(undone) == {
        "2": (
            "setattr",
            errno.ENOKEY,
            "setattr: ENOKEY (the server does not know its owner or group)",
        )
    }
    assert odd.gid == NEW


def test_domain_is_for_version_4(program: Program, server: Fake) -> None:
    ended = perms(program, server.url(3), "--nfs4-domain", DOMAIN)
    assert (ended.status, server.calls) == (1, {})
    assert "leave version=3 away" in ended.err


@pytest.mark.parametrize("domain", ["a@b", "x" * 96, "\u00e9"])
def test_domain_that_is_none_is_refused(program: Program, server: Fake, domain: str) -> None:
    ended = perms(program, server.url(0), "--nfs4-domain", domain)
    assert ended.status == 2
    assert "one like example.org" in ended.err


# -- without one


def numeric(server: Fake, speller: Speller) -> None:
    """Let the server have no names for now."""
    speller.names.clear()
    speller.numbers = True


def expect_version_3(ended: Ended, server: Fake, changed: int = ALL) -> None:
    assert (ended.status, ended.summary["changed"]) == (0, changed), ended
    assert ended.summary["entries"] == ALL
    assert "using NFSv3" in ended.err
    assert "--nfs4-domain" in ended.err
    assert server.calls[fake.SETATTR] >= changed - 1


@pytest.mark.parametrize("where", ["root", "file", "deep"])
def test_name_anywhere_leaves_version_4_for_all_of_the_share(
    program: Program, server: Fake, speller: Speller, where: str
) -> None:
    numeric(server, speller)
    speller.names[4] = b"somebody"
    named = {
        "root": server.root,
        "file": server.root.children[b"2"],
        "deep": server.root.children[b"inner"].children[b"7"],
    }[where]
    named.uid = 4
    before = states(server)
    ended = perms(program, server.url(0))
    expect_version_3(ended, server)
    assert server.drift(NEW) == []
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert states(server) == before


def test_name_of_the_new_group_leaves_version_4(
    program: Program, server: Fake, speller: Speller
) -> None:
    numeric(server, speller)
    speller.names[NEW] = b"sys"  # seen only after the first change
    before = states(server)
    ended = perms(program, server.url(0))
    expect_version_3(ended, server)
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert states(server) == before


def test_numbers_that_are_refused_leave_version_4(
    program: Program, server: Fake, speller: Speller
) -> None:
    numeric(server, speller)
    speller.numbers = False
    before = states(server)
    ended = perms(program, server.url(0))
    expect_version_3(ended, server)
    assert len(speller.got) <= 4  # one a lane
    server.calls.clear()
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert "using NFSv3" in undone.err
    assert states(server) == before


def test_undo_of_what_was_done_with_numbers_leaves_version_4_for_names(
    program: Program, server: Fake, speller: Speller
) -> None:
    numeric(server, speller)
    before = states(server)
    assert perms(program, server.url(0)).status == 0
    assert not server.calls
    speller.names[NEW] = b"sys"
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert states(server) == before


@pytest.mark.parametrize("where", [b"", b"inner"], ids=["root", "inner"])
@pytest.mark.parametrize("order", ["same", "other"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_name_late_in_a_wide_directory_leaves_version_4_and_counts_nothing_twice(
    program: Program,
    server: Fake,
    speller: Speller,
    monkeypatch: pytest.MonkeyPatch,
    where: bytes,
    order: str,
    jobs: int,
) -> None:
    numeric(server, speller)
    monkeypatch.setattr("archipmigrate.backend.nfs.WIDE", 3)
    monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 2)
    server.page = 2
    speller.names[4] = b"somebody"
    wide = server.root.children[where] if where else server.root
    wide.children[b"6"].uid = 4
    before = states(server)

    def reverse(_: Call) -> None:
        wide.children = dict(reversed(wide.children.items()))
        server.hook = lambda _: None

    for words in (["--dry-run"], []):
        if order == "other":
            server.hook = reverse
        ended = perms(program, server.url(0), "--jobs", jobs, *words)
        assert "using NFSv3" in ended.err
        assert (ended.status, counts(ended)) == (0, [ALL, 2, ALL - 2, ALL, 0])
        wide.children = dict(sorted(wide.children.items()))
    assert server.drift(NEW) == []
    verified = program("verify", "--json", "--group", GROUP, "--jobs", jobs, server.url(0))
    assert counts(verified) == [ALL, 2, ALL - 2, 0, ALL]
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert states(server) == before


def counts(ended: Ended) -> list[int]:
    names = ("entries", "directories", "files", "changed", "compliant")
    return [ended.summary[name] for name in names]


@pytest.mark.parametrize("demanded", [True, False], ids=["demanded", "alone"])
@pytest.mark.parametrize("trouble", ["root", "deep", "refused"])
def test_names_stop_the_run_where_version_3_cannot_serve(
    program: Program, server: Fake, speller: Speller, trouble: str, demanded: bool
) -> None:
    numeric(server, speller)
    inner = server.root.children[b"inner"]
    named = {"root": server.root, "deep": inner.children[b"7"]}.get(trouble)
    if named:
        speller.names[4] = b"somebody"
        named.uid = 4
    else:
        speller.numbers = False
    server.speaks_3 = demanded
    ended = perms(program, server.url(4 if demanded else 0))
    assert ended.status == 1
    assert "--nfs4-domain" in ended.err
    assert "Protocol wrong type" not in ended.err
    assert not server.calls


def test_another_directory_by_version_3_is_not_taken(
    program: Program, server: Fake, speller: Speller
) -> None:
    numeric(server, speller)
    speller.names[4] = b"somebody"
    server.root.children[b"2"].uid = 4
    whole = server._reply
    other: Node = server.root.children[b"inner"]

    def elsewhere(message: bytes) -> bytes:
        root = server.root
        server.root = other if int.from_bytes(message[12:16], "big") == fake.MOUNT else root
        reply = whole(message)
        server.root = root
        return reply

    server._reply = elsewhere  # type: ignore[method-assign]
    ended = perms(program, server.url(0))
    assert ended.status == 1
    assert "by version 3 this is another directory" in ended.err
    assert not server.calls[fake.SETATTR]


def test_this_host_has_the_groups_that_the_tests_take_for_granted() -> None:
    for number, name in NAMES.items():
        assert grp.getgrgid(number).gr_name == name.decode()
    with pytest.raises(KeyError):
        grp.getgrgid(UNNAMED)
    assert fake4.BADOWNER == 10039
