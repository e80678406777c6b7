"""The nfs backend and servers that are hostile, forgetful, busy or broken."""

from __future__ import annotations

import errno
import random
import stat
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.model import Limits, Unit
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy
from tests.nfs import fake
from tests.nfs.fake import BAD_NAMES, Call, Drop, Fake, Node
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID, Ended

nfs = pytest.importorskip("archipmigrate.backend.nfs")
_nfs = pytest.importorskip("archipmigrate._nfs")


@pytest.fixture
def server() -> Iterator[Fake]:
    """A server of a small tree: three files, and a directory with two."""
    with Fake() as made:
        for name in (b"one", b"two", b"three"):
            made.file(name)
        inner = made.directory(b"inner")
        for name in (b"four", b"five"):
            made.file(name, parent=inner)
        yield made


def perms(program: Program, server: Fake, *args: object, **options: int) -> Ended:
    return program("perms", "--json", "--group", GID, *args, server.url(**options))


def failures(ended: Ended) -> set[tuple[str, str]]:
    return {(f["path"], f["operation"]) for f in ended.objects if f["type"] == "failure"}


def only(procedure: int, *answers: bytes | None) -> Callable[[Call], bytes | None]:
    """Return a hook that answers the first calls of a procedure so."""
    left = list(answers)

    def hook(call: Call) -> bytes | None:
        return left.pop(0) if left and call.procedure == procedure else None

    return hook


# -- what servers leave out


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("handles", [True, False])
def test_what_a_server_leaves_out_is_asked_for(
    program: Program, server: Fake, attributes: bool, handles: bool
) -> None:
    server.tells_attributes, server.tells_handles = attributes, handles
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, 7, 7)
    assert server.drift(GID) == []


def test_no_attributes_after_a_change_are_asked_for_where_they_matter(
    program: Program, server: Fake
) -> None:
    server.tells_after = False
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)
    assert server.calls[fake.GETATTR] <= 3  # the root, and the result of the first change


def test_change_that_a_guard_of_whole_seconds_let_through_is_told(
    program: Program, server: Fake
) -> None:
    server.compares_seconds = True
    two = server.root.children[b"two"]

    def somebody(call: Call) -> None:
        if call.procedure == fake.SETATTR and int.from_bytes(call.bytes(), "big") == two.number:
            two.ctime += 1

    server.hook = somebody
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)
    told = [(o["kind"], o["path"]) for o in ended.objects if o["type"] == "notice"]
    assert told == [("raced", "two")]


@pytest.fixture
def bounds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls might be in flight at the end of each session."""
    seen = []
    close = nfs.NfsBackend.close

    def closing(backend: Any) -> None:
        seen.append(backend.bound())
        close(backend)

    monkeypatch.setattr(nfs.NfsBackend, "close", closing)
    return seen


def test_slow_server_gets_fewer_calls_at_a_time(
    program: Program, server: Fake, bounds: list[int]
) -> None:
    for number in range(600):
        server.file(f"file {number}".encode())
    assert perms(program, server, "--dry-run").status == 0
    server.hook = lambda _: time.sleep(0.003)
    assert perms(program, server).status == 0
    fast, slow = bounds
    assert slow <= 128 < fast


def test_server_that_asks_for_time_gets_fewer_calls_at_a_time(
    program: Program, server: Fake, bounds: list[int]
) -> None:
    refused: Counter[int] = Counter()

    def later(call: Call) -> bytes | None:
        number = int.from_bytes(call.bytes(), "big")
        refused[number] += call.procedure == fake.SETATTR
        return fake.error(fake.JUKEBOX) if refused[number] == 1 else None

    for number in range(60):
        server.file(f"file {number}".encode())
    server.hook = later
    assert perms(program, server).summary["changed"] == 67
    assert bounds[0] <= 128


def test_one_call_reads_a_directory_and_one_changes_an_entry(
    program: Program, server: Fake
) -> None:
    assert perms(program, server).status == 0
    assert server.calls == {
        fake.GETATTR: 1,
        fake.FSSTAT: 1,
        fake.READDIRPLUS: 2,
        fake.SETATTR: 7,
    }


def test_other_filesystem_is_not_entered(program: Program, server: Fake) -> None:
    mounted = server.directory(b"mounted")
    server.file(b"inside", parent=mounted).fsid = mounted.fsid = 2
    ended = perms(program, server)
    assert (ended.status, ended.summary["skipped"], ended.summary["changed"]) == (0, 1, 7)
    assert mounted.gid == 1000


@pytest.mark.parametrize("version", [3, 4])
def test_what_is_skipped_is_named_with_its_option(
    program: Program, server: Fake, version: int
) -> None:
    server.version4 = Version4() if version == 4 else None
    server.directory(b"mounted").fsid = 2
    server.directory(b".snapshot")
    server.directory(b"mine")
    inner = server.root.children[b"inner"]
    server.directory(b".snapshot", parent=inner)
    server.directory(b"~snapshot", parent=inner).fsid = 3
    ended = perms(program, server, "--exclude", "mine", version=version)
    skipped = [(t["path"], t["option"]) for t in ended.objects if t["type"] == "skipped"]
    assert sorted(skipped) == [
        (".snapshot", "--no-default-excludes"),
        ("inner/~snapshot", "--no-default-excludes"),
        ("mine", "--exclude"),
        ("mounted", "--cross-filesystems"),
    ]
    assert (ended.status, ended.summary["skipped"]) == (0, 4)
    assert sum(notice["count"] for notice in ended.summary["notices"]) == 4
    assert len(server.drift(GID)) == 4
    options = ("--exclude", "mine", "--no-default-excludes", "--cross-filesystems")
    ended = perms(program, server, *options, version=version)
    assert (ended.summary["skipped"], ended.summary["changed"]) == (1, 3)


def test_files_with_other_fsids_than_their_directories_are_changed(
    program: Program, server: Fake
) -> None:
    for name in (b"one", b"two"):
        server.root.children[name].fsid = 2
    assert (perms(program, server).status, server.drift(GID)) == (0, [])


def opened_at(server: Fake) -> Any:
    """Return the open share, without the program around it."""
    return _nfs.mount(
        fake.LOOPBACK,
        b"/share",
        version=3,
        nfs_port=server.port,
        mount_port=server.port,
        patience=10,
    )


def test_other_filesystems_are_entered_if_asked_though_their_roots_have_one_inode(
    server: Fake,
) -> None:
    inside = {}
    for number in (2, 3):
        mounted = server.directory(b"mounted %d" % number)
        mounted.fsid, mounted.other_inode = number, 500
        file = server.file(b"inside", parent=mounted)
        file.fsid = number
        inside[b"mounted %d/inside" % number] = file.inode
    backend = nfs.NfsBackend(opened_at(server), 64)
    unit: Unit | None = walk_unit([whole()])
    found: dict[bytes, int] = {}
    while unit:  # a directory at a time
        options, limits = ScanOptions(cross=True), Limits(60, 1, 10**9)
        scan = backend.scan(unit, GroupPolicy(GID), options, limits)
        found |= {change.path: change.inode for change in read_changes(scan.preimage)}
        unit = scan.rest
    assert inside.items() < found.items()


def test_share_that_is_opened_again_is_bounded_before_another_lane_has_it(
    server: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = opened_at(server), opened_at(server)
    backend = nfs.NfsBackend(first, 7, lambda: again)
    had = []
    monkeypatch.setattr(_nfs.OpenShare, "set_bound", lambda *_: had.append(backend._opened))
    assert backend._without_names(first, OSError(errno.EPROTOTYPE, "")) is again
    assert had == [first]


def test_symbolic_link_is_not_followed(program: Program, server: Fake) -> None:
    link = server._put(b"link", stat.S_IFLNK | 0o777, None)
    ended = perms(program, server)
    assert (ended.status, ended.summary["others"], link.gid) == (0, 1, 1000)


# -- malformed replies


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_name_that_is_none_fails_its_directory(program: Program, server: Fake, name: bytes) -> None:
    bad = server.directory(b"bad")
    server.file(b"good", parent=bad)
    server.file(name, parent=bad)
    ended = perms(program, server)
    assert ended.status == 3
    assert failures(ended) == {("bad", "readdir")}
    assert ended.summary["changed"] == 7
    assert {path for path in server.drift(GID) if not path.startswith(b"/bad")} == set()


def with_end(listing: bytes, extra: bytes) -> bytes:
    """Add an entry to the end of a listing, which goes on then."""
    return listing[:-8] + extra + struct.pack(">2I", 0, 0)


def test_same_cookie_again_fails_the_directory(program: Program, server: Fake) -> None:
    bad = server.directory(b"bad")
    odd = server.file(b"odd")

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.READDIRPLUS and server.node(call.bytes()) is bad:
            return with_end(server.listing(bad), fake.entry(b"again", odd, 7))
        return None

    server.hook = hook
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {("bad", "readdir")})


def test_circle_of_cookies_fails_the_directory(program: Program, server: Fake) -> None:
    bad = server.directory(b"bad")

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.READDIRPLUS and server.node(call.bytes()) is bad:
            after = call.long() % 50 + 3
            return with_end(server.listing(bad), fake.entry(b"round", bad, after))
        return None

    server.hook = hook
    ended = perms(program, server, "--dry-run")
    assert (ended.status, failures(ended)) == (3, {("bad", "readdir")})
    assert server.calls[fake.READDIRPLUS] < 400


def test_listing_without_entries_and_end_fails_the_directory(
    program: Program, server: Fake
) -> None:
    bad = server.directory(b"bad")

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.READDIRPLUS and server.node(call.bytes()) is bad:
            return server.listing(bad, 2)[:-8] + bytes(8)
        return None

    server.hook = hook
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {("bad", "readdir")})


@pytest.mark.parametrize("keep", [4, 20, 100, 150, 200, 240])
def test_listing_that_is_cut_off_fails_the_directory(
    program: Program, server: Fake, keep: int
) -> None:
    server.hook = lambda call: (
        server.listing(server.root)[:keep] if call.procedure == fake.READDIRPLUS else None
    )
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir")})
    assert ended.summary["changed"] == 0


@pytest.mark.parametrize("kind", [0, 8, 2**32 - 1])
def test_type_that_is_none_fails_the_directory(program: Program, server: Fake, kind: int) -> None:
    listing = bytearray(server.listing(server.root))
    listing[8:12] = struct.pack(">I", kind)
    server.hook = only(fake.READDIRPLUS, bytes(listing))
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir")})


@pytest.mark.parametrize("mark", [0x80000000 | 0x7FFFFFFF, 0x7FFFFFFF, 0x80200000])
def test_record_of_absurd_size_is_refused_and_the_calls_fail(
    program: Program, server: Fake, mark: int
) -> None:
    server.hook = lambda call: (
        b"RAW" + struct.pack(">I", mark) + bytes(4096)
        if call.procedure == fake.READDIRPLUS
        else None
    )
    ended = perms(program, server)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir")})
    assert server.calls[fake.READDIRPLUS] <= 4


def test_fragments_are_joined(program: Program, server: Fake) -> None:
    whole = server._reply

    def pieces(message: bytes) -> bytes:
        reply = whole(message)[4:]
        out = b""
        for start in range(0, len(reply), 10):
            piece = reply[start : start + 10]
            last = fake.LAST if start + 10 >= len(reply) else 0
            out += struct.pack(">I", last | len(piece)) + piece
        return out

    server._reply = pieces  # type: ignore[method-assign]
    assert perms(program, server).summary["changed"] == 7


@pytest.mark.parametrize(
    ("reply", "shown"),
    [((1, 0, 0, 0, 1), 95), ((1, 0, 0, 0, 4), 22), ((1, 0, 0, 0, 5), 5), ((1, 1, 1, 1), 13)],
    ids=["no program", "garbage", "system", "denied"],
)
def test_refused_call_is_a_failure(
    program: Program, server: Fake, reply: tuple[int, ...], shown: int
) -> None:
    whole = server._reply

    def refuse(message: bytes) -> bytes:
        xid, procedure = struct.unpack(">I 16x I", message[:24])
        if procedure not in (fake.READDIR, fake.READDIRPLUS):
            return whole(message)
        body = struct.pack(f">{1 + len(reply)}I", xid, *reply)
        return struct.pack(">I", fake.LAST | len(body)) + body

    server._reply = refuse  # type: ignore[method-assign]
    ended = perms(program, server, "--dry-run")
    found = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert [(f["operation"], f["errno"]) for f in found] == [("readdir", shown)]


# -- servers that are busy, and connections that break


def test_later_please_is_heard(program: Program, server: Fake) -> None:
    jukebox = fake.error(fake.JUKEBOX)
    server.hook = only(fake.READDIRPLUS, jukebox, jukebox)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)
    assert server.calls[fake.READDIRPLUS] == 4
    server.hook = only(fake.SETATTR, jukebox, jukebox)
    assert program("undo", "--json").summary["changed"] == 7


def test_bad_cookie_begins_the_directory_again(program: Program, server: Fake) -> None:
    server.page = 3
    server.hook = only(fake.READDIRPLUS, None, fake.error(fake.BAD_COOKIE))
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, 7, 7)


def after_doing(server: Fake, procedure: int, times: int) -> Callable[[Call], bytes | None]:
    """Return a hook that does what the first calls ask for, and drops the connection."""
    left = [times]

    def hook(call: Call) -> bytes | None:
        if call.procedure == procedure and left[0]:
            left[0] -= 1
            server._result(call)
            raise Drop
        return None

    return hook


def test_change_whose_reply_was_lost_is_ours(program: Program, server: Fake) -> None:
    server.hook = after_doing(server, fake.SETATTR, 3)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)
    server.hook = after_doing(server, fake.SETATTR, 3)
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"]) == (0, 7)
    assert server.root.gid == 0


def test_listing_whose_reply_was_lost_is_asked_for_again(program: Program, server: Fake) -> None:
    server.hook = after_doing(server, fake.READDIRPLUS, 3)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["entries"]) == (0, 7, 7)


# -- what others do meanwhile


def meanwhile(node: Node, change: Callable[[Node], None]) -> Callable[[Call], bytes | None]:
    """Return a hook that changes an entry just before the first SETATTR of it."""
    left = [change]

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.SETATTR and left and call.bytes() == node.handle()[4:]:
            left.pop()(node)
        return None

    return hook


def write(node: Node) -> None:
    node.ctime += 5


def test_file_that_is_written_to_is_changed_all_the_same(program: Program, server: Fake) -> None:
    node = server.root.children[b"two"]
    server.hook = meanwhile(node, write)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], node.gid) == (0, 7, GID)


def test_file_that_is_written_to_all_the_time_is_changed_all_the_same(
    program: Program, server: Fake
) -> None:
    node = server.root.children[b"two"]

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.SETATTR and call.bytes() == node.handle()[4:]:
            write(node)
        return None

    server.hook = hook
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], node.gid) == (0, 7, GID)


def test_mode_that_somebody_changed_is_looked_at_again(program: Program, server: Fake) -> None:
    node = server.root.children[b"two"]

    def chmod(node: Node) -> None:
        node.mode = stat.S_IFREG | 0o604
        node.ctime += 1

    server.hook = meanwhile(node, chmod)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)
    assert (node.gid, node.mode) == (GID, stat.S_IFREG | 0o664)
    program("undo")
    assert node.mode == stat.S_IFREG | 0o604


def test_file_that_was_removed_is_vanished(program: Program, server: Fake) -> None:
    node = server.root.children[b"two"]

    def remove(node: Node) -> None:
        node.gone = True
        del server.root.children[b"two"]

    server.hook = meanwhile(node, remove)
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["vanished"]) == (0, 6, 1)


def test_directory_that_was_removed_is_vanished(program: Program, server: Fake) -> None:
    inner = server.root.children[b"inner"]

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.READDIRPLUS and server.node(call.bytes()) is inner:
            inner.gone = True
            server.root.children.pop(b"inner", None)
        return None

    server.hook = hook
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"], ended.summary["vanished"]) == (0, 4, 1)
    assert ended.summary["entries"] == 4


# -- refusals


def test_undo_passes_over_a_run_whose_changes_were_refused(program: Program, server: Fake) -> None:
    first = perms(program, server).summary
    server.hook = lambda call: fake.error(fake.ACCES) if call.procedure == fake.SETATTR else None
    second = program("perms", "--json", "--group", GID + 1, server.url())
    assert (second.status, second.summary["changed"]) == (1, 0)
    server.hook = lambda call: None
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["undone"]) == (0, first["run"])
    assert ended.summary["changed"] == first["changed"] == 7


def test_refusals_of_all_stop_the_run(program: Program, server: Fake) -> None:
    server.hook = lambda call: fake.error(fake.ACCES) if call.procedure == fake.SETATTR else None
    ended = perms(program, server)
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)


def test_read_only_server_stops_the_run_at_once(program: Program, server: Fake) -> None:
    server.hook = lambda call: fake.error(fake.ROFS) if call.procedure == fake.SETATTR else None
    ended = perms(program, server)
    assert (ended.status, ended.summary["status"], ended.summary["changed"]) == (1, "stopped", 0)
    assert server.calls[fake.SETATTR] == 1


def test_group_that_the_server_maps_stops_the_run_after_one_change(
    program: Program, server: Fake
) -> None:
    def squash(call: Call) -> bytes | None:
        if call.procedure != fake.SETATTR:
            return None
        node = server.node(Call(0, call.body).bytes())
        reply = server._result(call)
        node.gid = 65534
        return reply[:8] + struct.pack(">I", 1) + node.attributes()

    server.hook = squash
    ended = perms(program, server)
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert server.calls[fake.SETATTR] == 1


def test_quota_is_tried_again(program: Program, server: Fake) -> None:
    server.hook = only(fake.SETATTR, fake.error(fake.DQUOT))
    ended = perms(program, server)
    assert (ended.status, ended.summary["changed"]) == (0, 7)


def test_server_that_is_silent_fails_the_calls_in_time(program: Program, server: Fake) -> None:
    program.env["ARCHIPMIGRATE_JOBS"] = "1"

    def hook(call: Call) -> bytes | None:
        if call.procedure == fake.READDIRPLUS:
            return b"RAW"
        return None

    server.hook = hook
    ended = perms(program, server, "--dry-run", timeout=1)
    assert (ended.status, failures(ended)) == (3, {(".", "readdir")})


@pytest.mark.parametrize("seed", range(8))
def test_replies_with_wrong_bytes_are_survived(program: Program, server: Fake, seed: int) -> None:
    whole, rng = server._reply, random.Random(seed)
    mounted = 3  # replies: the port's, the root's handle and its attributes

    def spoiled(message: bytes) -> bytes:
        reply = bytearray(whole(message))
        if sum(server.calls.values()) > mounted and rng.random() < 0.5:
            for _ in range(rng.randrange(1, 4)):
                reply[rng.randrange(24, len(reply))] = rng.choice((0, 1, 2, 7, 127, 128, 255))
        return bytes(reply)

    server._reply = spoiled  # type: ignore[method-assign]
    program.env["ARCHIPMIGRATE_JOBS"] = "1"
    ended = perms(program, server, "--dry-run", timeout=1)
    assert ended.status in (0, 1, 3)
    again = perms(program, server, timeout=1)
    assert again.status in (0, 1, 3)
