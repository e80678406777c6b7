"""The nfs backend and servers of version 4 that are hostile, forgetful, busy or broken."""

from __future__ import annotations

import errno
import stat
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.nfs import fake4
from tests.nfs.fake import BAD_NAMES, Fake, Node
from tests.nfs.fake4 import Operation, Version4
from tests.support.inprocess import Program
from tests.support.program import GID, Ended

pytest.importorskip("archipmigrate._nfs")

FILES = 12  # two compounds of changes, and more


@pytest.fixture
def server() -> Iterator[Fake]:
    """A server of a directory with some files, and one with two."""
    with Fake() as made:
        made.version4 = Version4()
        for number in range(FILES):
            made.file(b"%02d" % number)
        inner = made.directory(b"inner")
        for name in (b"four", b"five"):
            made.file(name, parent=inner)
        yield made


ALL = FILES + 4


def version(server: Fake) -> Version4:
    assert server.version4
    return server.version4


def perms(program: Program, server: Fake, *args: object) -> Ended:
    return program("perms", "--json", "--group", GID, *args, server.url(4))


def failures(ended: Ended) -> set[tuple[str, str, int]]:
    found = [f for f in ended.objects if f["type"] == "failure"]
    return {(f["path"], f["operation"], f["errno"]) for f in found}


def answers(number: int, *decided: int | bytes | None) -> Callable[[Operation], int | bytes | None]:
    """Return a hook that decides the first operations of a number so."""
    left = list(decided)

    def hook(operation: Operation) -> int | bytes | None:
        return left.pop(0) if left and operation.number == number else None

    return hook


def always(
    number: int, node: Node, decided: int | bytes
) -> Callable[[Operation], int | bytes | None]:
    """Return a hook that decides all operations of a number on an entry so."""
    return lambda operation: (
        decided if operation.number == number and operation.node is node else None
    )


def test_changes_are_made_together_and_directories_read_once(
    program: Program, server: Fake
) -> None:
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, ALL, ALL)
    assert server.drift(GID) == []
    counted = version(server).numbers
    assert counted.count(fake4.READDIR) == 2
    assert counted.count(fake4.SETATTR) == ALL
    assert max(version(server).done) == 15  # five times PUTFH, VERIFY, SETATTR
    assert program("undo", "--json").summary["changed"] == ALL
    assert server.root.children[b"00"].gid == 1000


# -- what servers leave out, and malformed replies


@pytest.mark.parametrize(
    "missing",
    [{fake4.FILEHANDLE}, {fake4.CHANGE, fake4.MODE}, set(range(64)) - {fake4.RDATTR_ERROR}],
    ids=["handle", "attributes", "all"],
)
def test_what_a_listing_leaves_out_is_asked_for(
    program: Program, server: Fake, missing: set[int]
) -> None:
    version(server).tells = frozenset(range(64)) - missing
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, ALL, ALL)
    assert version(server).numbers.count(fake4.LOOKUP) > 1
    assert server.drift(GID) == []


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_name_that_is_none_fails_its_directory(program: Program, server: Fake, name: bytes) -> None:
    bad = server.directory(b"bad")
    server.file(b"good", parent=bad)
    server.file(name, parent=bad)
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {("bad", "readdir", errno.EBADMSG)})
    assert ended.summary["changed"] == ALL
    assert all(path.startswith(b"/bad") for path in server.drift(GID))


def test_dots_are_not_entered(program: Program, server: Fake) -> None:
    bad = server.directory(b"bad")
    bad.children |= {b".": bad, b"..": server.root}
    ended = perms(program, server, "--dry-run")
    assert (ended.status, ended.summary["entries"]) == (0, ALL + 1)


def listing(server: Fake, *entries: tuple[bytes, Node, int], at_end: bool = False) -> bytes:
    """Return a READDIR4resok."""
    wanted = [number for number in range(64) if number != fake4.FH_EXPIRE_TYPE]
    shown = b"".join(version(server).entry(*entry, wanted) for entry in entries)
    return b"verifier" + shown + struct.pack(">2I", 0, at_end)


@pytest.mark.parametrize("cookies", ["same", "circle", "none"])
def test_endless_directory_fails(program: Program, server: Fake, cookies: str) -> None:
    bad = server.directory(b"bad")

    def hook(operation: Operation) -> bytes | None:
        if operation.number != fake4.READDIR or operation.node is not bad:
            return None
        if cookies == "none":
            return listing(server)
        return listing(server, (b"x", bad, 7 if cookies == "same" else operation.cookie % 50 + 3))

    version(server).hook = hook
    ended = perms(program, server, "--dry-run")
    assert (ended.status, failures(ended)) == (3, {("bad", "readdir", errno.ELOOP)})
    assert version(server).numbers.count(fake4.READDIR) < 400


@pytest.mark.parametrize("keep", [0, 7, 12, 30, 60, 100])
def test_listing_that_is_cut_off_fails_the_directory(
    program: Program, server: Fake, keep: int
) -> None:
    whole = listing(server, (b"00", server.root.children[b"00"], 3), at_end=True)
    version(server).hook = always(fake4.READDIR, server.root, whole[:keep])
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir", errno.EBADMSG)})
    assert ended.summary["changed"] == 0


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ([fake4.TYPE], struct.pack(">I", 0)),
        ([fake4.TYPE], struct.pack(">I", 2**32 - 1)),
        ([fake4.TYPE], b""),
        ([fake4.OWNER], struct.pack(">I", 2**31)),
        ([fake4.OWNER], struct.pack(">I", 0)),
        ([fake4.FILEHANDLE], struct.pack(">I", 129) + bytes(132)),
        ([fake4.FILEHANDLE], struct.pack(">I", 0)),
        ([5], bytes(4)),
    ],
    ids=["no type", "type", "short", "owner", "no owner", "handle", "no handle", "unasked"],
)
def test_attributes_that_are_none_fail_the_directory(
    program: Program, server: Fake, attributes: list[int], content: bytes
) -> None:
    packed = fake4.bitmap(attributes) + struct.pack(">I", len(content)) + content
    reply = b"verifier" + struct.pack(">IQI4s", 1, 3, 1, b"a") + packed + struct.pack(">2I", 0, 1)
    version(server).hook = always(fake4.READDIR, server.root, reply)
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir", errno.EBADMSG)})


@pytest.mark.parametrize("words", [9, 2**32 - 1])
def test_bitmap_of_absurd_size_is_refused(program: Program, server: Fake, words: int) -> None:
    reply = b"verifier" + struct.pack(">IQI4sI", 1, 3, 1, b"a", words) + bytes(200)
    version(server).hook = always(fake4.READDIR, server.root, reply)
    ended = perms(program, server)
    assert failures(ended) == {(".", "readdir", errno.EBADMSG)}


def test_link_in_the_place_of_a_directory_is_not_followed(program: Program, server: Fake) -> None:
    inner = server.root.children[b"inner"]
    link = server._put(b"inner", stat.S_IFLNK | 0o777, None)
    outside = Node(900, stat.S_IFDIR | 0o755, children=inner.children)
    ended = perms(program, server)
    assert (ended.status, ended.summary["others"]) == (0, 1)
    assert (link.gid, outside.gid, inner.children[b"four"].gid) == (1000, 0, 1000)


# -- servers that are busy, or that forget


@pytest.mark.parametrize("status", [fake4.DELAY, fake4.GRACE, fake4.RESOURCE])
@pytest.mark.parametrize("number", [fake4.READDIR, fake4.PUTFH])
def test_later_please_is_heard(program: Program, server: Fake, status: int, number: int) -> None:
    version(server).hook = answers(number, None, status, status)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, ALL)
    version(server).hook = answers(fake4.SETATTR, status, status)
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)


@pytest.mark.parametrize("number", [fake4.PUTFH, fake4.SETATTR])
@pytest.mark.parametrize("told", [True, False], ids=["told", "left out"])
def test_delay_in_the_middle_of_changes_keeps_those_before(
    program: Program, server: Fake, number: int, told: bool
) -> None:
    node = server.root.children[b"05"]
    left = [fake4.DELAY]

    def hook(operation: Operation) -> int | None:
        is_it = operation.number == number and operation.node is node and operation.index > 3
        if left and is_it:
            version(server).told = lambda results: results - (not told)
            return left.pop()
        version(server).told = lambda results: results
        return None

    version(server).hook = hook
    ended = perms(program, server)
    assert not left
    assert (ended.status, ended.summary["changed"]) == (0, ALL)
    # Only the change that failed is sent again, not those before it.
    assert version(server).numbers.count(fake4.SETATTR) == ALL + (number == fake4.SETATTR)


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("told", [True, False], ids=["told", "left out"])
def test_smaller_compounds_are_sent_where_resources_end(
    program: Program, server: Fake, monkeypatch: pytest.MonkeyPatch, most: int, told: bool
) -> None:
    def hook(operation: Operation) -> int | None:
        is_too_much = operation.number == fake4.SETATTR and operation.index >= 3 * most
        version(server).told = lambda results: results - (is_too_much and not told)
        return fake4.RESOURCE if is_too_much else None

    version(server).hook = hook
    for directory in range(10):
        more = server.directory(b"more%d" % directory)
        for number in range(10):
            server.file(b"%d" % number, parent=more)
    # One lane, so that few compounds are in flight when the first one is refused.
    monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 10)
    ended = perms(program, server, "--jobs", 1)
    assert (ended.status, ended.summary["changed"]) == (0, ALL + 110)
    assert server.drift(GID) == []
    too_large = [n for n in version(server).done if n > max(3 * most, 4)]
    assert 1 <= len(too_large) <= 10


@pytest.mark.parametrize("status", [fake4.BAD_COOKIE, fake4.NOT_SAME])
def test_cookie_that_is_no_longer_good_begins_the_directory_again(
    program: Program, server: Fake, status: int
) -> None:
    server.page = 5
    version(server).hook = answers(fake4.READDIR, None, status)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, ALL, ALL)


@pytest.mark.parametrize("status", [fake4.STALE, fake4.FHEXPIRED])
@pytest.mark.parametrize("verb", ["perms", "undo"])
def test_handle_that_is_no_longer_good_is_looked_up_again(
    program: Program, server: Fake, status: int, verb: str
) -> None:
    node = server.root.children[b"05"]
    left = [status]

    def hook(operation: Operation) -> int | None:
        if left and operation.number == fake4.PUTFH and operation.node is node:
            return left.pop()
        return None

    if verb == "perms":
        version(server).hook = hook
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, ALL)
    version(server).hook = hook
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, ALL)
    assert not left
    assert (node.gid, node.mode & 0o777) == (1000, 0o640)


def test_directory_that_is_stale_is_read_again(program: Program, server: Fake) -> None:
    version(server).hook = answers(fake4.READDIR, None, fake4.FHEXPIRED)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, ALL, ALL)


# -- refusals


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (fake4.NOSPC, errno.ENOSPC),
        (fake4.DQUOT, errno.EDQUOT),
        (fake4.ACCES, errno.EACCES),
        (fake4.PERM, errno.EPERM),
        (10006, errno.EIO),
    ],
)
def test_refusal_in_the_middle_of_changes_is_one_failure(
    program: Program,
    server: Fake,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    shown: int,
) -> None:
    monkeypatch.setattr("archipmigrate.engine.controllers.FIRST_PAUSE", 0.01)
    node = server.root.children[b"05"]
    version(server).hook = always(fake4.SETATTR, node, status)
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {("05", "setattr", shown)})
    assert (ended.summary["changed"], ended.summary["failed"]) == (ALL - 1, 1)
    version(server).hook = lambda _: None
    again = program("resume", "--failed", "--json")
    assert (again.status, again.summary["changed"], server.drift(GID)) == (0, ALL, [])


def test_read_only_in_the_middle_is_a_failure_of_its_own(program: Program, server: Fake) -> None:
    version(server).hook = always(fake4.SETATTR, server.root.children[b"05"], fake4.ROFS)
    ended = perms(program, server)
    assert (ended.status, ended.summary["status"]) == (3, "failures")
    assert (ended.summary["changed"], ended.summary["failed"]) == (ALL - 1, 1)


def test_refusals_of_all_stop_the_run(program: Program, server: Fake) -> None:
    version(server).hook = lambda o: fake4.ACCES if o.number == fake4.SETATTR else None
    ended = perms(program, server)
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)


@pytest.mark.parametrize("told", [0, 3, 4, 5, 6])
def test_fewer_results_than_were_asked_for_fail_no_more_than_their_own(
    program: Program, server: Fake, told: int
) -> None:
    left = [told]

    def few(results: int) -> int:
        return left.pop() if left and results == 15 else results

    version(server).told = few
    ended = perms(program, server)
    assert not left
    assert ended.status == 3
    ((_, operation, number),) = failures(ended)
    assert (operation, number) == ("setattr", errno.EBADMSG)
    assert server.drift(GID) == []  # it was done, but the reply was lost
    assert ended.summary["changed"] == ALL - 1


# -- versions


def test_another_minor_version_leads_to_version_3(program: Program, server: Fake) -> None:
    version(server).minor = 1
    ended = program("perms", "--json", "--group", GID, server.url(0))
    assert (ended.status, ended.summary["changed"], server.drift(GID)) == (0, ALL, [])
    assert "NFSv4.1 or later only" in perms(program, server).err


def test_server_without_version_4_leads_to_version_3(program: Program, server: Fake) -> None:
    server.version4 = None
    ended = program("perms", "--json", "--group", GID, server.url(0))
    assert (ended.status, ended.summary["changed"], server.drift(GID)) == (0, ALL, [])
    assert "lookup: Operation not supported" in perms(program, server).err
