"""Ordinary users change what is theirs; and undo without a name takes the run that it says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import restricted
from tests.support.inprocess import Program
from tests.support.program import GID, Cli, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

NOBODY = 65534
LAUNCH = (sys.executable, str(Path(restricted.__file__)))


@pytest.fixture
def his(backend: str) -> Iterator[tuple[Cli, Path]]:
    """A share of an ordinary user's, and the program as he starts it."""
    with tempfile.TemporaryDirectory(prefix="archipmigrate-test-") as place:
        top = Path(place)
        top.chmod(0o755)
        share, state = top / "share", top / "state"
        for path in (share, state):
            path.mkdir(mode=0o700)
        (share / "closed" / "inside").mkdir(parents=True)
        (share / "file").touch(mode=0o600)
        for path in (share, state, *share.rglob("*")):
            os.chown(path, NOBODY, GID if path != state else NOBODY)
        env = {"XDG_RUNTIME_DIR": "", "HOME": str(top)}
        yield Cli(backend, state, env, (*LAUNCH, "--user", str(NOBODY), "--")), share


@pytest.mark.parametrize("mode", [0o000, 0o111, 0o311], ids=oct)
def test_directory_that_its_owner_may_not_read_is_changed_itself(
    his: tuple[Cli, Path], mode: int
) -> None:
    cli, share = his
    (share / "closed").chmod(mode)
    ended = cli("perms", "--json", "--group", NOBODY, share)
    made(b"file" not in drift(share, NOBODY), "a run that changed what can be read")
    found = (share / "closed").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (mode | 0o2070, NOBODY)
    failures = [f["path"] for f in ended.objects if f["type"] == "failure"]
    assert (ended.status, failures) == (3, ["closed"])


def test_directory_that_its_owner_may_read_is_changed_with_all_in_it(
    his: tuple[Cli, Path],
) -> None:
    """The control."""
    cli, share = his
    assert cli("perms", "--group", NOBODY, share).status == 0
    assert drift(share, NOBODY) == []


@pytest.mark.parametrize("resumes", [0, 2])
@pytest.mark.parametrize(
    ("group", "refused"), [(GID, 1), (GID + 1, 3)], ids=["mode only", "group and mode"]
)
def test_undo_takes_the_latest_run_that_changed_something(
    program: Program, share: Path, group: int, refused: int, resumes: int
) -> None:
    chattr = need("chattr", "e2fsprogs")
    (share / "file").touch(mode=0o600)
    before = attrs(share)
    first = program.perms(share).summary
    made(first["changed"] == 2, "a run that changed something")
    (share / "new").touch(mode=0o600)  # of the group, because of the directory's set-gid bit
    before[b"new"] = attrs(share)[b"new"]
    fixed = [share / "new", share / "file", share]
    subprocess.run([chattr, "+i", *fixed], check=True)
    try:
        second = program("perms", "--json", "--group", group, share).summary
        for _ in range(resumes):
            again = program("resume", "--failed", "--json").summary
            made((again["run"], again["failed"]) == (second["run"], refused), "the same failures")
    finally:
        subprocess.run([chattr, "-i", *reversed(fixed)], check=True)
    made((second["changed"], second["failed"]) == (0, refused), "a run that changed nothing")
    ended = program("undo", "--json")
    assert ended.summary["undone"] == first["run"]
    assert attrs(share) == before
