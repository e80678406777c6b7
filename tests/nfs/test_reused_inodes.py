"""Undo by URL, and files that were made after the run with the inode numbers of deleted ones."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace

import pytest

from archipmigrate.jobs.outcome import MORE, pack_outcome
from archipmigrate.model import Applied
from archipmigrate.perms import job
from tests.nfs import fake, fake4
from tests.nfs.fake import Call, Fake, Node, error
from tests.nfs.fake4 import Operation, Version4
from tests.support.inprocess import Program
from tests.support.journals import database, interrupt, journal_of
from tests.support.program import GID, Ended
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")


HOUR = 3600 << 32  # of a ctime


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as made_server:
        made_server.version4 = Version4()
        for name in (b"kept", b"deleted"):
            made_server.file(name, 0o604)
        yield made_server


def make_anew(server: Fake, name: bytes, *, later: int) -> Node:
    """Delete a file and make another one, as a member of the group leaves it."""
    old = server.root.children[name]
    old.gone = True
    new = server.file(name, 0o664)
    new.gid, new.uid, new.other_inode = GID, old.uid, old.number
    new.ctime, new.birth = old.ctime + later, (old.ctime + later >> 32) + 1
    return new


def tell(server: Fake, *, births: bool = False, expires: int = 0) -> None:
    """Have version 4 tell times of birth, and how long handles last."""
    assert server.version4
    server.version4.tells_births, server.version4.expires = births, expires


def paths(ended: Ended) -> list[str]:
    return [f["path"] for f in ended.objects if f["type"] == "failure"]


def is_as_before(node: Node) -> bool:
    return (node.gid, stat.S_IMODE(node.mode)) == (1000, 0o604)


def is_as_the_run_left_it(node: Node) -> bool:
    return (node.gid, stat.S_IMODE(node.mode)) == (GID, 0o664)


def check_undo(program: Program, server: Fake, new: Node, *words: object) -> None:
    """Undo, and see that all is back but for what was made after the run, which is listed."""
    made(new.inode == new.other_inode, "a number that is used again")
    ended = program("undo", "--json", *words)
    assert is_as_the_run_left_it(new)
    assert is_as_before(server.root.children[b"kept"])
    assert ended.status == 3
    assert paths(ended) == ["deleted"]


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write outcomes as earlier versions did: without identities."""

    def pack(applied: Applied) -> bytes:
        packed = pack_outcome(replace(applied, came=(), identity_kind=0, identities=b""))
        return packed[: -MORE.size]

    monkeypatch.setattr(job, "pack_outcome", pack)


HOW = pytest.mark.parametrize(
    ("version", "told"),
    [(3, {}), (4, {}), (4, {"births": True})],
    ids=["handles of v3", "handles of v4", "births"],
)


@HOW
def test_file_that_was_made_after_the_run_is_left_as_it_is(
    program: Program, server: Fake, version: int, told: dict[str, bool]
) -> None:
    tell(server, **told)
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    check_undo(program, server, make_anew(server, b"deleted", later=0))


@HOW
def test_file_that_somebody_wrote_to_goes_back(
    program: Program, server: Fake, version: int, told: dict[str, bool]
) -> None:
    tell(server, **told)
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    for node in server.root.children.values():
        node.ctime += HOUR
    assert program("undo").status == 0
    assert all(is_as_before(node) for node in server.root.children.values())


@HOW
def test_batch_that_was_settled_is_told_from_files_made_later(
    program: Program, server: Fake, version: int, told: dict[str, bool]
) -> None:
    tell(server, **told)
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    journal = journal_of(program.state)
    interrupt(journal)
    with database(journal) as opened:
        opened.execute("UPDATE batch SET outcome = NULL, outcome_seal = NULL")
    made(program("resume").status == 0, "a run that settles what it had begun")
    check_undo(program, server, make_anew(server, b"deleted", later=0))


@pytest.mark.parametrize("version", [3, 4])
def test_files_of_the_run_go_back(program: Program, server: Fake, version: int) -> None:
    """The control."""
    assert program("perms", "--group", GID, server.url(version)).status == 0
    assert program("undo").status == 0
    for node in server.root.children.values():
        assert is_as_before(node)


# -- journals by which no identities can be compared


@pytest.mark.parametrize(("version", "undo_version"), [(3, 4), (4, 3)], ids=["3 by 4", "4 by 3"])
def test_undo_by_the_other_version_takes_what_has_not_changed_since(
    program: Program, server: Fake, version: int, undo_version: int
) -> None:
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    new = make_anew(server, b"deleted", later=HOUR)
    check_undo(program, server, new, "--path", server.url(undo_version))


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("version", [3, 4])
def test_journal_of_an_earlier_version_takes_what_has_not_changed_since(
    program: Program, server: Fake, version: int
) -> None:
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    check_undo(program, server, make_anew(server, b"deleted", later=HOUR))


@pytest.mark.usefixtures("earlier")
def test_birth_before_the_run_tells_where_a_journal_has_no_identities(
    program: Program, server: Fake
) -> None:
    tell(server, births=True)
    for node in (server.root, *server.root.children.values()):
        node.birth, node.ctime = 5, 10 << 32
    made(program("perms", "--group", GID, server.url(4)).status == 0, "a run")
    for node in server.root.children.values():
        node.ctime += HOUR
    check_undo(program, server, make_anew(server, b"deleted", later=HOUR))


def test_handles_that_may_expire_tell_nothing(program: Program, server: Fake) -> None:
    tell(server, expires=2)  # FH4_VOLATILE_ANY
    made(program("perms", "--group", GID, server.url(4)).status == 0, "a run")
    check_undo(program, server, make_anew(server, b"deleted", later=HOUR))


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("version", [3, 4])
def test_undo_that_is_repeated_finds_as_before_what_it_put_back(
    program: Program, server: Fake, version: int
) -> None:
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run")
    for node in server.root.children.values():  # as a killed undo leaves it
        node.mode, node.gid = stat.S_IFREG | 0o604, 1000
        node.ctime += HOUR
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["compliant"]) == (0, 2)


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("version", [3, 4])
def test_older_attempt_at_an_entry_that_is_back_goes_back_too(
    program: Program, server: Fake, version: int
) -> None:
    kept = server.root.children[b"kept"]
    halves = [kept]

    def is_half_done(node: Node | None) -> bool:
        """Set the group, but not the mode, and say that it failed."""
        if not halves or node is not halves[0]:
            return False
        halves.pop().gid = GID
        kept.ctime += 1
        return True

    def hook(call: Call) -> bytes | None:
        is_change = call.procedure == fake.SETATTR
        return error(5) if is_change and is_half_done(server.node(call.bytes())) else None

    def hook4(operation: Operation) -> int | None:
        return 5 if operation.number == fake4.SETATTR and is_half_done(operation.node) else None

    assert server.version4
    server.hook, server.version4.hook = hook, hook4
    made(program("perms", "--group", GID, server.url(version)).status == 0, "a run that retries")
    made(not halves, "a change that was half done")
    kept.tick = HOUR  # undo is that much later
    assert program("undo").status == 0
    assert is_as_before(kept)
