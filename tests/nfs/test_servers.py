"""The version that is used on nfs-ganesha: servers of one version, and those with owner names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nfs.ganesha import Ganesha
from tests.support.inprocess import Program
from tests.support.program import GID, attrs, drift

pytest.importorskip("archipmigrate._nfs")
pytestmark = pytest.mark.privileged

Serve = Callable[..., Ganesha]
DOMAIN = "example.org"
ALL = 12


@pytest.fixture
def tree(share: Path) -> Path:
    """Two directories of files; all owners have names on every Debian (daemon, bin, sys)."""
    (share / "inner").mkdir()
    for directory in (share, share / "inner"):
        for number in range(5):
            (directory / str(number)).touch(mode=0o640)
    for path in (share, *share.rglob("*")):
        os.chown(path, 1, 2)
    share.chmod(0o755)
    return share


def url(server: Ganesha, version: int = 0) -> str:
    """Return the URL that leaves the version to the client, unless one is demanded."""
    named = server.url(version or 4)
    return named if version else named.rpartition("&")[0]


@pytest.mark.parametrize("version", [3, 4])
def test_server_of_one_version_is_found_and_said(
    ganesha: Serve, tree: Path, program: Program, version: int
) -> None:
    server = ganesha(tree, versions=(version,), pseudo=str(tree))
    before = attrs(tree)
    ended = program("perms", "--json", "--group", GID, url(server))
    assert (ended.status, ended.err, drift(tree)) == (0, "", [])
    assert ended.summary["nfs_version"] == version
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["nfs_version"]) == (0, version)
    assert attrs(tree) == before


@pytest.mark.parametrize(("served", "demanded"), [(3, 4), (4, 3)])
def test_version_that_is_demanded_is_not_replaced(
    ganesha: Serve, tree: Path, program: Program, served: int, demanded: int
) -> None:
    server = ganesha(tree, versions=(served,), pseudo=str(tree))
    ended = program("perms", "--json", "--group", GID, url(server, demanded))
    assert ended.status == 1
    assert ("lookup" if demanded == 4 else "mount") in ended.err


def unused_port() -> int:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return int(there.getsockname()[1])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nfsport={none}&mountport={mount}&version=4", "lookup: Connection refused"),
        ("nfsport={none}&mountport={mount}&version=3", "getattr: Connection refused"),
        ("nfsport={nfs}&mountport={none}&version=3", "mount: Connection refused"),
        ("nfsport={none}&mountport={none}", "mount: Connection refused"),
    ],
)
def test_port_where_nobody_answers_is_said(
    ganesha: Serve, tree: Path, program: Program, query: str, said: str
) -> None:
    server = ganesha(tree)
    ports = query.format(none=unused_port(), nfs=server.port, mount=server.mount_port)
    ended = program("perms", "--group", GID, f"nfs://127.0.0.1{tree}?{ports}")
    assert (ended.status, said in ended.err) == (1, True), ended.err


def test_port_mapper_that_is_not_there_is_said(
    ganesha: Serve, tree: Path, program: Program
) -> None:
    server = ganesha(tree, versions=(3,))
    with socket.socket() as there:
        if there.connect_ex(("127.0.0.1", 111)) == 0:
            pytest.skip("there is a port mapper here")
    where = f"nfs://127.0.0.1{tree}?nfsport={server.port}"
    demanded = program("perms", "--group", GID, f"{where}&version=3")
    assert "port mapper: Connection refused: name the port of mountd" in demanded.err
    # The error of version 4 is shown if there is no version 3.
    assert "lookup: " in program("perms", "--group", GID, where).err


# -- owner names


def test_names_are_mapped_by_the_domain_and_put_back(
    ganesha: Serve, tree: Path, program: Program
) -> None:
    server = ganesha(tree, domain=DOMAIN, pseudo=str(tree))
    os.chown(tree / "3", 0, 3)
    os.chown(tree / "inner", 2, 1)
    before = attrs(tree)
    words = ("--group", "sys", "--nfs4-domain", DOMAIN, url(server))
    dry = program("perms", "--json", "--dry-run", *words)
    assert (dry.status, dry.summary["changed"], attrs(tree)) == (0, ALL, before)
    ended = program("perms", "--json", *words)
    assert (ended.status, ended.err, ended.summary["changed"]) == (0, "", ALL)
    assert (ended.summary["nfs_version"], drift(tree, 3)) == (4, [])
    verified = program("verify", "--json", *words)
    assert (verified.status, verified.summary["drift"]) == (0, 0)
    undone = program("undo", "--json")
    assert (undone.status, undone.summary["changed"], undone.summary["nfs_version"]) == (0, ALL, 4)
    assert attrs(tree) == before


def test_owner_without_a_name_is_a_failure_where_numbers_are_no_owners(
    ganesha: Serve, tree: Path, program: Program
) -> None:
    server = ganesha(tree, domain=DOMAIN, pseudo=str(tree))
    os.chown(tree / "inner" / "2", 1, GID)  # told as nobody
    before = attrs(tree)
    ended = program("perms", "--json", "--group", "sys", "--nfs4-domain", DOMAIN, url(server))
    failures = [f["path"] for f in ended.objects if f["type"] == "failure"]
    assert (ended.status, failures) == (3, ["inner/2"])
    assert attrs(tree)[b"inner/2"] == before[b"inner/2"]
    assert program("undo", "--json").status == 0
    assert attrs(tree) == before


def test_group_without_a_name_is_refused(ganesha: Serve, tree: Path, program: Program) -> None:
    server = ganesha(tree, domain=DOMAIN, pseudo=str(tree))
    before = attrs(tree)
    ended = program("perms", "--json", "--group", GID, "--nfs4-domain", DOMAIN, url(server))
    assert ended.status == 1
    assert "the server refuses the owner or group" in ended.err
    assert attrs(tree) == before


def test_version_3_is_spoken_for_names_without_a_domain(
    ganesha: Serve, tree: Path, program: Program
) -> None:
    server = ganesha(tree, domain=DOMAIN, pseudo=str(tree))
    before = attrs(tree)
    ended = program("perms", "--json", "--group", "sys", url(server))
    assert (ended.status, ended.summary["nfs_version"], drift(tree, 3)) == (0, 3, [])
    assert "using NFSv3" in ended.err
    assert program("undo", "--json").status == 0
    assert attrs(tree) == before
    demanded = program("perms", "--json", "--group", "sys", url(server, 4))
    assert demanded.status == 1
    assert "--nfs4-domain" in demanded.err
