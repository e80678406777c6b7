"""Servers that lack what few do without: unfs3, go-nfs, libnfs-go, nfsserve and others.

RFC 1813 names NOTSUPP among READDIRPLUS' errors; Linux and libnfs go on with READDIR then.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from tests.nfs import fake, fake4
from tests.nfs.fake import LAST, MOUNT, Call, Fake, Node, error, opaque
from tests.nfs.fake4 import Operation, Version4
from tests.support.inprocess import Program
from tests.support.program import GID, Ended
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")

READDIR = 16
INVAL, NAMETOOLONG = 22, 63
NOTSUPP, TOOSMALL, OP_ILLEGAL = 10004, 10005, 10044
PROC_UNAVAIL = 3
KIB = 1 << 10


def fill(server: Fake) -> int:
    """Put a few files and directories there; return how many entries there are."""
    for name in (b"one", b"two"):
        server.file(name)
    inner = server.directory(b"inner")
    for number in range(5):
        server.file(b"%d" % number, parent=inner)
    return 9


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as made_server:
        fill(made_server)
        yield made_server


ALL = 9


def perms(program: Program, server: Fake, version: int = 3) -> Ended:
    return program("perms", "--json", "--group", GID, server.url(version))


def failures(ended: Ended) -> list[str]:
    return [f["path"] for f in ended.objects if f["type"] == "failure"]


def finished(ended: Ended, server: Fake) -> bool:
    """Say whether a run changed all, and nothing is left."""
    return ended.status == 0 and server.drift(GID) == [] and ended.summary["changed"] == ALL


# -- READDIRPLUS


class WithoutPlus(Fake):
    """READDIR as section 3.3.16 has it, and no READDIRPLUS."""

    refusal: bytes = error(NOTSUPP)

    def _result(self, call: Call) -> bytes:
        if call.procedure == fake.READDIRPLUS:
            made_calls.append(call.procedure)
            return self.refusal
        if call.procedure != READDIR:
            return super()._result(call)
        node = self.node(call.bytes())
        cookie = call.long()
        names = [(b".", node), (b"..", self.root), *node.children.items()]
        shown = names[cookie : cookie + self.page]
        out = struct.pack(">2I", 0, 0) + b"verifier"
        for number, (name, child) in enumerate(shown, cookie + 1):
            out += struct.pack(">IQ", 1, child.inode) + opaque(name) + struct.pack(">Q", number)
        return out + struct.pack(">2I", 0, cookie + len(shown) >= len(names))


made_calls: list[int] = []


def unavailable(server: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server say that there is no such procedure (RFC 5531: PROC_UNAVAIL)."""
    reply = server._reply

    def without(message: bytes) -> bytes:
        xid, _, _, program, _, procedure = struct.unpack_from(">6I", message)
        if program == MOUNT or procedure != fake.READDIRPLUS:
            return reply(message)
        made_calls.append(procedure)
        out = struct.pack(">6I", xid, 1, 0, 0, 0, PROC_UNAVAIL)
        return struct.pack(">I", LAST | len(out)) + out

    monkeypatch.setattr(server, "_reply", without)


@pytest.mark.parametrize("page", [100, 2])
@pytest.mark.parametrize("how", ["NOTSUPP", "PROC_UNAVAIL"])
def test_server_without_readdirplus_is_read_by_readdir(
    program: Program, monkeypatch: pytest.MonkeyPatch, page: int, how: str
) -> None:
    made_calls.clear()
    with WithoutPlus() as server:
        fill(server)
        server.page = page
        if how == "PROC_UNAVAIL":
            unavailable(server, monkeypatch)
        ended = perms(program, server)
        made(made_calls, "a READDIRPLUS that was refused")
        assert finished(ended, server)
        assert len(made_calls) <= 2  # not for each directory anew
        assert program("undo").status == 0


@pytest.mark.parametrize("length", [256, 300, 1024])
@pytest.mark.parametrize("version", [3, 4])
def test_name_that_is_too_long_fails_alone(
    program: Program, server: Fake, version: int, length: int
) -> None:
    server.version4 = Version4()
    name = "n" * length
    server.file(name.encode(), parent=server.root.children[b"inner"])
    for ended in (perms(program, server, version), program("resume", "--json", "--failed")):
        assert (ended.status, ended.summary["entries"]) == (3, ALL + 1)
        assert (ended.summary["changed"], ended.summary["failed"]) == (ALL, 1)
        assert server.drift(GID) == [f"/inner/{name}".encode()]
        assert failures(ended) == [f"inner/{name}"]
    assert program("undo").status == 0


def test_names_that_are_too_long_fail_once_in_a_wide_directory(
    program: Program, server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.backend.nfs.WIDE", 20)
    server.page = 7
    inner = server.root.children[b"inner"]
    for number in range(60):
        server.file(b"%d" % (100 + number), parent=inner)
        server.file(b"%d" % number + 300 * b"n", parent=inner)
    ended = perms(program, server)
    assert (ended.status, ended.summary["entries"]) == (3, ALL + 120)
    assert (ended.summary["changed"], ended.summary["failed"]) == (ALL + 60, 60)
    assert len(set(failures(ended))) == 60


def test_server_that_wants_more_room_for_a_listing_gets_it(program: Program, server: Fake) -> None:
    asked: list[int] = []

    def too_small(call: Call) -> bytes | None:
        if call.procedure != fake.READDIRPLUS:
            return None
        call.bytes()
        asked.append(struct.unpack_from(">I", call.body, call.at + 20)[0])
        return error(TOOSMALL) if asked[-1] <= 128 * KIB else None

    server.hook = too_small
    ended = perms(program, server)
    made(min(asked) <= 128 * KIB, "a listing for which there is too little room")
    assert finished(ended, server)
    assert asked.count(128 * KIB) == 1  # not for each directory anew


def test_server_for_which_no_room_is_enough_fails_its_directories(
    program: Program, server: Fake
) -> None:
    server.hook = lambda call: error(TOOSMALL) if call.procedure == fake.READDIRPLUS else None
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, ["."])


def test_reply_of_a_megabyte_is_read(program: Program, server: Fake) -> None:
    def padded(call: Call) -> bytes | None:
        if call.procedure != fake.READDIRPLUS:
            return None
        return server._result(call) + (1 << 20) * b"\0"

    server.hook = padded
    assert finished(perms(program, server), server)


# -- mountd


class Flavours(Fake):
    """Its mountd lists such flavours."""

    listed: tuple[int, ...] = (0,)

    def _reply(self, message: bytes) -> bytes:
        xid, _, _, program = struct.unpack_from(">4I", message)
        if program != MOUNT:
            return super()._reply(message)
        out = struct.pack(">7I", xid, 1, 0, 0, 0, 0, 0) + self.root.handle()
        out += struct.pack(f">{1 + len(self.listed)}I", len(self.listed), *self.listed)
        return struct.pack(">I", LAST | len(out)) + out


@pytest.mark.parametrize("listed", [(), (1,), (0,), (0, 1), (390003, 0), (390003,), (390003, 1)])
def test_mountd_that_lists_no_flavour_or_the_null_one_takes_any(
    program: Program, listed: tuple[int, ...]
) -> None:
    with Flavours() as server:
        fill(server)
        server.listed = listed
        ended = perms(program, server)
        assert finished(ended, server) == (listed != (390003,))


# -- guards


def refusing_guards(status: int) -> Callable[[Call], bytes | None]:
    """Return a hook that answers a guarded SETATTR so."""

    def hook(call: Call) -> bytes | None:
        if call.procedure != fake.SETATTR:
            return None
        call.bytes()
        call.number() and call.number()
        call.number()
        call.number() and call.number()
        call.long()
        call.number()
        return error(status) if call.number() else None

    return hook


@pytest.mark.parametrize("status", [INVAL, NOTSUPP])
def test_server_without_guards_is_changed_without_and_it_is_said(
    program: Program, server: Fake, status: int
) -> None:
    server.hook = refusing_guards(status)
    ended = perms(program, server)
    made(server.calls[fake.SETATTR] > 0, "changes that were tried")
    assert finished(ended, server)
    assert "guard" in ended.err
    assert server.calls[fake.GETATTR] >= ALL  # a look before each change
    assert program("undo").status == 0


@pytest.mark.parametrize("status", [INVAL, NOTSUPP])
def test_change_that_is_refused_without_a_guard_too_is_no_matter_of_guards(
    program: Program, server: Fake, status: int
) -> None:
    server.hook = lambda call: error(status) if call.procedure == fake.SETATTR else None
    ended = perms(program, server)
    assert (ended.status, ended.summary["failed"]) == (3, ALL)
    assert ended.summary["changed"] == 0
    assert "guard" not in ended.err


def test_entry_that_changed_since_the_scan_is_scanned_again_without_guards_too(
    program: Program, server: Fake
) -> None:
    refuse = refusing_guards(NOTSUPP)
    one = server.root.children[b"one"]
    gid = one.gid

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.SETATTR and server.calls[fake.SETATTR] == 1:
            one.mode, one.uid = one.mode & ~0o777 | 0o604, one.uid + 1
        return refuse(call)

    server.hook = hook
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, ALL)
    assert server.drift(GID) == []
    assert program("undo").status == 0
    assert (one.mode & 0o777, one.gid) == (0o604, gid)


@pytest.mark.parametrize("status", [INVAL, NOTSUPP, OP_ILLEGAL])
def test_server_without_verify_is_changed_without_and_it_is_said(
    program: Program, server: Fake, status: int
) -> None:
    def hook(operation: Operation) -> int | None:
        return status if operation.number == fake4.VERIFY else None

    server.version4 = Version4(hook=hook)
    ended = perms(program, server, 4)
    made(fake4.VERIFY in server.version4.numbers, "a VERIFY that was refused")
    assert finished(ended, server)
    assert "guard" in ended.err
    assert program("undo").status == 0


# -- what is said


def test_server_of_nfs_4_1_only_is_called_that(program: Program, server: Fake) -> None:
    server.version4, server.speaks_3 = Version4(minor=1), False
    for version in (4, 0):
        ended = perms(program, server, version)
        made(ended.status == 1, "an error")
        assert "4.0" in ended.err
        assert "is this the path" not in ended.err


@pytest.mark.parametrize(
    ("lacks", "name"),
    [
        (fake4.CHANGE, "change"),
        (fake4.TIME_METADATA, "time_metadata"),
        (fake4.OWNER_GROUP, "owner_group"),
        (fake4.FILEID, "fileid"),
    ],
)
def test_server_of_version_4_that_lacks_an_attribute_is_said_to(
    program: Program, server: Fake, lacks: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    version4 = Version4()
    attributes = version4.attributes
    monkeypatch.setattr(
        version4,
        "attributes",
        lambda node, wanted: attributes(node, [number for number in wanted if number != lacks]),
    )
    server.version4, server.speaks_3 = version4, False
    ended = perms(program, server, 4)
    made(ended.status == 1, "an error")
    assert f"lacks the attribute {name}," in ended.err
    server.speaks_3 = True
    assert perms(program, server, 0).status == 0  # by version 3


# -- errors that pass


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("status", "times"), [(5, 1), (70, 2)], ids=["EIO", "ESTALE twice"])
def test_undo_tries_again_what_may_pass_as_perms_does(
    program: Program, server: Fake, version: int, status: int, times: int
) -> None:
    refused: list[bool] = []
    one = server.root.children[b"one"]

    def refuse(node: Node | None, *, is_change: bool) -> bool:
        return bool(is_change and node is one and refused and refused.pop())

    def hook(call: Call) -> bytes | None:
        is_change = call.procedure == fake.SETATTR
        return error(status) if refuse(server.node(call.bytes()), is_change=is_change) else None

    def hook4(operation: Operation) -> int | None:
        is_change = operation.number == fake4.SETATTR
        return status if refuse(operation.node, is_change=is_change) else None

    server.hook, server.version4 = hook, Version4(hook=hook4)
    refused += times * [True]
    made(perms(program, server, version).status == 0, "a run that tries again")
    made(not refused, "changes that were refused")
    refused += times * [True]
    ended = program("undo", "--json")
    made(not refused, "changes that were refused")
    assert (ended.status, ended.summary["failed"]) == (0, 0)
