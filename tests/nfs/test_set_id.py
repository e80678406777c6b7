"""Set-id bits over NFS: files keep none after undo, whatever is asked for; directories do."""

from __future__ import annotations

import pytest

from tests.nfs import fake
from tests.nfs.fake import Fake
from tests.nfs.fake4 import Version4
from tests.support.inprocess import Program
from tests.support.program import GID
from tests.support.situations import made

pytest.importorskip("archipmigrate._nfs")


@pytest.mark.parametrize("options", [[], ["--restore-set-id"]], ids=["", "asked for"])
@pytest.mark.parametrize(("version", "tells_after"), [(3, True), (3, False), (4, True)])
def test_undo_leaves_set_id_bits_of_files_off_and_lists_them(
    program: Program, version: int, options: list[str], *, tells_after: bool
) -> None:
    modes = {b"tool": 0o4755, b"shadow": 0o2755, b"both": 0o6644, b"locking": 0o2644}
    with Fake() as server:
        server.version4, server.tells_after = Version4(), tells_after
        nodes = {name: server.file(name, mode) for name, mode in modes.items()}
        directory = server.directory(b"directory", 0o2750)
        before = {name: node.gid for name, node in nodes.items()}
        run = program("perms", "--json", "--group", GID, server.url(version))
        made((run.status, server.drift(GID)) == (0, []), "a finished run")
        for _ in range(2):  # repeating it gives nothing more
            ended = program("undo", "--json", *options, run.summary["run"])
            reasons = {f["path"]: f["reason"] for f in ended.objects if f["type"] == "failure"}
            assert (ended.status, ended.summary["skipped"]) == (3, 3)
            assert reasons.keys() == {"tool", "shadow", "both"}
            assert all(f"{modes[path.encode()]:04o}" in why for path, why in reasons.items())
            assert all("NFS" in why for why in reasons.values()) == bool(options)
            found = {name: node.mode & 0o7777 for name, node in nodes.items()}
            assert found == {b"tool": 0o755, b"shadow": 0o755, b"both": 0o2644, b"locking": 0o2644}
            assert {name: node.gid for name, node in nodes.items()} == before
            assert directory.mode & 0o7777 == 0o2750


def test_undo_of_a_set_id_file_is_one_call(program: Program) -> None:
    with Fake() as server:
        server.file(b"tool", 0o4755)
        run = program("perms", "--json", "--group", GID, server.url(3))
        calls = server.calls[fake.SETATTR]
        made((run.status, calls) == (0, 2), "a finished run: the file and the root")
        assert program("undo").status == 3
        assert server.calls[fake.SETATTR] == calls + 2
