"""Signals while a server is silent or slow in the middle of changes: the run ends soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.nfs import fake
from tests.nfs.fake import Call, Fake
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID, Ended

pytest.importorskip("archipmigrate._nfs")

DIRECTORIES, FILES = 12, 60
ALL = 1 + DIRECTORIES * (1 + FILES)
SOON = 10.0  # seconds; without a signal the client waits for a server for a minute
Reply = Callable[[bytes], bytes]


@pytest.fixture
def server() -> Iterator[Fake]:
    """A server of some directories, of which a unit has a part only."""
    with Fake() as made:
        made.version4 = Version4()
        for directory in range(DIRECTORIES):
            parent = made.directory(b"%d" % directory)
            for number in range(FILES):
                made.file(b"%d" % number, parent=parent)
        yield made


def changed(server: Fake) -> int:
    return sum(node.gid == GID for node in server._nodes.values())


def go_silent(server: Fake, when: Callable[[], bool], *, does: bool) -> Reply:
    """Have this process interrupted when it is time, and no call answered from then on.

    They are done all the same if the server *does* them. Return what answers as before.
    """
    whole = server._reply
    silent: list[bool] = []

    def reply(message: bytes) -> bytes:
        if not silent and not when():
            return whole(message)
        if not silent:
            silent.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        if does:
            whole(message)
        return b""

    server._reply = reply  # type: ignore[method-assign]
    return whole


def interrupted(program: Program, *words: object) -> Ended:
    """Run a command that is interrupted, and see that it ends soon."""
    began = time.monotonic()
    ended = program(*words)
    assert ended.status == 128 + signal.SIGINT, ended.err
    assert time.monotonic() - began < SOON
    return ended


def counts(ended: Ended) -> list[int]:
    names = ("entries", "changed", "compliant", "skipped", "vanished", "failed")
    return [ended.summary[name] for name in names]


def states(server: Fake) -> list[tuple[int, int]]:
    return [(node.mode, node.gid) for node in server._nodes.values() if node.number > 1]


@pytest.mark.parametrize(("version", "does"), [(3, True), (3, False), (4, True)])
def test_changes_that_were_not_answered_are_settled_by_resume(
    program: Program, server: Fake, version: int, does: bool
) -> None:
    before = states(server)
    whole = go_silent(server, lambda: changed(server) > ALL // 2, does=does)
    ended = interrupted(program, "perms", "--json", "--group", GID, server.url(version))
    assert ended.summary["status"] == "interrupted"
    assert "some changes were still in flight" in ended.err
    assert ended.summary["failed"] == 0
    assert ended.summary["changed"] <= changed(server) < ALL
    server._reply = whole  # type: ignore[method-assign,assignment]
    resumed = program("resume", "--json")
    assert (resumed.status, counts(resumed)) == (0, [ALL, ALL, 0, 0, 0, 0])
    assert server.drift(GID) == []
    undone = program("undo", "--json")
    assert (undone.status, counts(undone)) == (0, [ALL, ALL, 0, 0, 0, 0])
    assert states(server) == before


def test_answers_that_come_in_time_are_counted(program: Program, server: Fake) -> None:
    whole = server._reply
    sent: list[float] = []

    def reply(message: bytes) -> bytes:
        if changed(server) > ALL // 2:
            if not sent:
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.001)  # many calls are in flight when the lanes see the signal
        return whole(message)

    server._reply = reply  # type: ignore[method-assign]
    ended = interrupted(program, "perms", "--json", "--group", GID, server.url(3))
    assert ended.err == ""
    assert ALL // 2 <= ended.summary["changed"] == changed(server) < ALL
    server._reply = whole  # type: ignore[method-assign]
    resumed = program("resume", "--json")
    assert (resumed.status, counts(resumed)) == (0, [ALL, ALL, 0, 0, 0, 0])


def test_look_at_a_slow_server_is_given_up(program: Program, server: Fake) -> None:
    for number in range(100):
        server.directory(b"empty %d" % number)
    began, over = time.monotonic(), threading.Event()

    def slow(call: Call) -> None:
        read = server.calls[fake.READDIRPLUS]
        if call.procedure == fake.READDIRPLUS and read >= 5:  # 16 are asked for at once
            if read == 5:
                os.kill(os.getpid(), signal.SIGINT)
            over.wait(0.5)

    server.hook = slow
    interrupted(program, "verify", "--json", "--group", GID, server.url(3))
    assert time.monotonic() - began < 5
    over.set()


def test_resume_is_interrupted_while_it_settles(program: Program, server: Fake) -> None:
    whole = go_silent(server, lambda: changed(server) > ALL // 2, does=True)
    interrupted(program, "perms", "--json", "--group", GID, server.url(3))
    server._reply = whole  # type: ignore[method-assign,assignment]
    server.calls.clear()
    whole = go_silent(server, lambda: server.calls[fake.LOOKUP] > 0, does=False)
    interrupted(program, "resume", "--json")
    server._reply = whole  # type: ignore[method-assign,assignment]
    resumed = program("resume", "--json")
    assert (resumed.status, counts(resumed)) == (0, [ALL, ALL, 0, 0, 0, 0])
    assert server.drift(GID) == []


@pytest.mark.parametrize("version", [3, 4])
def test_undo_is_gone_on_with_where_it_was(program: Program, server: Fake, version: int) -> None:
    before = states(server)
    assert program("perms", "--json", "--group", GID, server.url(version)).status == 0
    whole = go_silent(server, lambda: changed(server) < ALL // 2, does=True)
    interrupted(program, "undo", "--json")
    server._reply = whole  # type: ignore[method-assign,assignment]
    resumed = program("undo", "--json")
    assert (resumed.status, resumed.summary["resumed"]) == (0, True)
    # What was back before the unit came to its end is "already as before", as after a kill.
    back = resumed.summary["changed"] + resumed.summary["compliant"]
    assert (resumed.summary["entries"], back, sum(counts(resumed)[3:])) == (ALL, ALL, 0)
    assert states(server) == before


def test_undo_is_interrupted_while_it_settles_the_run(program: Program, server: Fake) -> None:
    before = states(server)
    whole = go_silent(server, lambda: changed(server) > ALL // 2, does=True)
    interrupted(program, "perms", "--json", "--group", GID, server.url(3))
    server._reply = whole  # type: ignore[method-assign,assignment]
    server.calls.clear()
    whole = go_silent(server, lambda: server.calls[fake.LOOKUP] > 0, does=False)
    interrupted(program, "undo", "--json")
    server._reply = whole  # type: ignore[method-assign,assignment]
    assert program("undo", "--json").status == 0
    assert states(server) == before
