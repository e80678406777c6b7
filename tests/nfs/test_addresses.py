"""Several addresses of one server: all are used, their order does not matter, one may be lost."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.testshare import make_share
from tests.nfs.ganesha import Ganesha
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift

_nfs = pytest.importorskip("archipmigrate._nfs")
pytestmark = pytest.mark.privileged

Serve = Callable[..., Ganesha]
ONE, TWO, THREE = "127.0.0.1", "127.0.0.2", "127.0.0.3"


@pytest.fixture(params=[3, 4], ids=["v3", "v4"])
def version(request: pytest.FixtureRequest) -> int:
    """Each version of the protocol in turn."""
    return int(request.param)


def peers(port: int) -> set[str]:
    """The addresses to which this process is connected at a port."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            inode = os.readlink(f"/proc/self/fd/{name}").removeprefix("socket:[").rstrip("]")
            found.add(inode)
    connected = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        address, _, number = words[2].partition(":")
        if words[9] in found and int(number, 16) == port:
            connected.add(".".join(str(byte) for byte in reversed(bytes.fromhex(address))))
    return connected


def test_connections_are_spread_over_all_addresses(
    version: int, ganesha: Serve, share: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    nfs = pytest.importorskip("archipmigrate.backend.nfs")
    make_share(str(share), objects=500, volumes=0)
    server = ganesha(share, address="0.0.0.0")
    seen: set[str] = set()
    close = nfs.NfsBackend.close

    def look(self: object) -> None:
        seen.update(peers(server.port))
        close(self)

    monkeypatch.setattr(nfs.NfsBackend, "close", look)
    ended = program(
        "perms", "--json", "--group", GID, server.url(version, servers=f"{ONE},{TWO},{THREE}")
    )
    assert (ended.status, ended.err, drift(share)) == (0, "", [])
    assert seen == {ONE, TWO, THREE}


def test_order_of_the_addresses_does_not_matter(
    version: int, ganesha: Serve, share: Path, program: Program
) -> None:
    make_share(str(share), objects=20, volumes=0)
    before = attrs(share)
    server = ganesha(share, address="0.0.0.0")
    one_way, other = (server.url(version, servers=s) for s in (f"{TWO},{ONE}", f"{ONE},{TWO}"))
    assert program("perms", "--group", GID, one_way).status == 0
    assert program("verify", "--group", GID, other).status == 0
    undone = program("undo", "--json", "--path", other)
    assert (undone.status, attrs(share)) == (0, before)
    assert undone.summary["changed"] > 0


def test_another_server_among_the_addresses_is_refused(
    version: int, ganesha: Serve, tmp_path: Path, share: Path, program: Program
) -> None:
    (share / "file").touch()
    (tmp_path / "other" / share.name).mkdir(parents=True)
    server = ganesha(share, address=ONE)
    before = attrs(share)
    elsewhere = tmp_path / "other" / share.name
    ganesha(elsewhere, address=TWO, ports=(server.port, server.mount_port))
    ended = program("perms", "--group", GID, server.url(version, servers=f"{TWO},{ONE}"))
    # By version 3, the other one does not even export this path.
    assert ("not one server" if version == 4 else f"{TWO}: mount") in ended.err
    assert (ended.status, attrs(share)) == (1, before)


def test_address_that_does_not_answer_is_left_out(
    version: int, ganesha: Serve, share: Path, program: Program
) -> None:
    make_share(str(share), objects=20, volumes=0)
    server = ganesha(share, address=TWO)
    ended = program("perms", "--group", GID, server.url(version, servers=f"{ONE},{TWO}"))
    assert (ended.status, drift(share)) == (0, [])
    assert f"{ONE}: " in ended.err
    assert "goes on without this address" in ended.err


def test_no_address_answers(ganesha: Serve, share: Path, program: Program) -> None:
    server = ganesha(share, address=THREE)
    ended = program("perms", "--group", GID, server.url(4, servers=f"{ONE},{TWO}"))
    assert ended.status == 1
    assert "Connection refused" in ended.err


def test_connection_that_breaks_is_made_to_another_address(
    ganesha: Serve, share: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two servers of the same files ends during the run: the other one takes over."""
    nfs = pytest.importorskip("archipmigrate.backend.nfs")
    make_share(str(share), objects=2000, volumes=0)
    staying = ganesha(share, address=ONE)
    leaving = ganesha(share, address=TWO, ports=(staying.port, staying.mount_port))
    apply = nfs.NfsBackend.apply

    def end_one(*args: Any, **options: Any) -> object:
        leaving.kill()
        return apply(*args, **options)

    monkeypatch.setattr(nfs.NfsBackend, "apply", end_one)
    ended = program("perms", "--json", "--group", GID, staying.url(4, servers=f"{ONE},{TWO}"))
    assert (ended.status, ended.summary["failed"], drift(share)) == (0, 0, [])
