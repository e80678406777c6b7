"""Set-id bits after undo: off for every file that the group could write to meanwhile.

    group member   open, mmap, close .................................. write by the mapping
    perms                              undo: size and times unchanged

A write by a mapping takes no set-id bits away, and a descriptor that was opened while the group
could write stays open: what is seen of a file does not show who can still write to it.

    group member         open .. waits for the lease .................. has it open
    undo           lease        set-id bits on       lease released

Who waits for a lease has passed the permission check: bits that are set under the lease that made
him wait are bits of a file that he can write to.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.engine.job import UnitResult
from archipmigrate.model import Scan
from archipmigrate.perms import set_id
from archipmigrate.perms.retried import Part
from archipmigrate.perms.undo import UndoJob
from tests.support.inprocess import Program
from tests.support.program import GID, Ended
from tests.support.situations import made

pytestmark = pytest.mark.privileged

NOBODY = 65534
CONTENT, WRITTEN = b"root's program", b"a member wrote"


def put(directory: Path, mode: int, name: str = "tool") -> Path:
    """Make a program of root's with that mode."""
    path = directory / name
    path.write_bytes(CONTENT)
    path.chmod(mode)
    return path


def bits(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextlib.contextmanager
def mapped_by_member(path: Path) -> Iterator[mmap.mmap]:
    """Have a member of the group map a file to be written to; its descriptor is closed again."""
    directory = os.open(path.parent, os.O_PATH)
    os.setegid(GID)
    os.seteuid(NOBODY)
    try:
        opened = os.open(path.name, os.O_RDWR, dir_fd=directory)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.close(directory)
    mapping = mmap.mmap(opened, 0)
    os.close(opened)
    with contextlib.closing(mapping):
        yield mapping


def write(mapping: mmap.mmap) -> None:
    mapping[: len(WRITTEN)] = WRITTEN
    mapping.flush()


def is_members_set_id_program(path: Path) -> bool:
    return bool(bits(path) & stat.S_ISUID and path.read_bytes().startswith(WRITTEN))


def test_write_by_a_mapping_takes_no_set_id_bits_away(share: Path) -> None:
    """The control of the attack."""
    tool = put(share, 0o664)
    os.chown(share, 0, GID)
    share.chmod(0o770)
    os.chown(tool, 0, GID)
    with mapped_by_member(tool) as mapping:
        tool.chmod(0o4755)
        write(mapping)
    assert is_members_set_id_program(tool)


def test_member_who_mapped_a_file_gets_no_set_id_program_by_undo(
    program: Program, share: Path
) -> None:
    tool = put(share, 0o4755)
    made(program.perms(share).status == 0, "a finished run")
    with mapped_by_member(tool) as mapping:
        program("undo")
        write(mapping)
    made(tool.read_bytes().startswith(WRITTEN), "a write by the mapping")
    assert not is_members_set_id_program(tool)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755, 0o4644], ids=oct)
def test_set_id_bits_stay_off_and_are_listed_with_the_mode_of_before(
    program: Program, share: Path, mode: int
) -> None:
    tool, other = put(share, mode), put(share, 0o600, "other")
    made(program.perms(share).status == 0, "a finished run")
    ended = program("undo", "--json")
    assert (bits(other), other.stat().st_gid) == (0o600, 0)
    assert (bits(tool), tool.stat().st_gid) == (mode & 0o1777, 0)
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    (failure,) = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert failure["path"] == "tool"
    assert f"{mode:04o}" in failure["reason"]


# -- asked for


@pytest.fixture
def fastest(codec: str, state: Path) -> Program:
    """The program with one backend: what gives set-id bits back is the same with all."""
    return Program(codec, state)


def failures(ended: Ended) -> dict[str, str]:
    """Return the reasons of what was left, by path."""
    return {f["path"]: f["reason"] for f in ended.objects if f["type"] == "failure"}


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755, 0o6644], ids=oct)
def test_set_id_bits_come_back_if_asked_for_where_nobody_has_the_file_open(
    program: Program, ext4: Path, mode: int
) -> None:
    tool = put(ext4, mode)
    made(program.perms(ext4).status == 0, "a finished run")
    ended = program("undo", "--json", "--restore-set-id")
    assert (bits(tool), tool.stat().st_gid) == (mode, 0)
    assert (ended.status, ended.summary["changed"], ended.summary["skipped"]) == (0, 2, 0)


@pytest.mark.parametrize("mode", [0o4755, 0o6644], ids=oct)
def test_set_id_bits_come_back_by_another_undo_that_asks_for_them(
    fastest: Program, ext4: Path, mode: int
) -> None:
    tool = put(ext4, mode)
    run = fastest.perms(ext4).summary["run"]
    for _ in range(2):
        ended = fastest("undo", "--json", run)
        assert (ended.status, ended.summary["skipped"]) == (3, 1)
        assert "--restore-set-id" in failures(ended)["tool"]
    ended = fastest("undo", "--json", "--restore-set-id", run)
    assert (ended.status, bits(tool)) == (0, mode)
    assert (ended.summary["changed"], ended.summary["compliant"]) == (1, 1)
    ended = fastest("undo", "--json", "--restore-set-id", run)
    assert (ended.status, bits(tool), ended.summary["compliant"]) == (0, mode, 2)


def test_set_id_bits_stay_off_of_what_is_mapped_though_they_are_asked_for(
    fastest: Program, ext4: Path
) -> None:
    tool, free = put(ext4, 0o4755), put(ext4, 0o4755, "free")
    made(fastest.perms(ext4).status == 0, "a finished run")
    with mapped_by_member(tool) as mapping:
        ended = fastest("undo", "--json", "--restore-set-id")
        write(mapping)
    made(tool.read_bytes().startswith(WRITTEN), "a write by the mapping")
    assert (ended.status, bits(tool), bits(free)) == (3, 0o755, 0o4755)


def test_set_id_bits_stay_off_of_what_is_mapped_at_the_second_undo(
    fastest: Program, ext4: Path
) -> None:
    """The first one found it closed; its old bits let the group write to it, too."""
    tool = put(ext4, 0o4775)
    run = fastest.perms(ext4).summary["run"]
    fastest("undo", run)
    os.chown(ext4, 0, GID)
    ext4.chmod(0o770)
    opened = os.open(tool, os.O_RDWR)
    with mmap.mmap(opened, 0) as mapping:
        os.close(opened)
        ended = fastest("undo", "--json", "--restore-set-id", run)
        write(mapping)
    made(tool.read_bytes().startswith(WRITTEN), "a write by the mapping")
    assert (ended.status, bits(tool)) == (3, 0o775)
    assert "mapped" in failures(ended)["tool"]


def rewrite(tool: Path) -> None:
    tool.write_bytes(CONTENT[::-1])  # as long as it was: its times show it


def rewrite_and_hide(tool: Path) -> None:
    found = tool.stat()
    rewrite(tool)
    os.utime(tool, ns=(found.st_atime_ns, found.st_mtime_ns))


def write_by_a_mapping(tool: Path) -> None:
    with mapped_by_member(tool) as mapping:
        made(mapping[0] == CONTENT[0], "a page that was read before it is written to")
        write(mapping)


@pytest.mark.parametrize("alter", [rewrite, rewrite_and_hide, write_by_a_mapping])
@pytest.mark.parametrize("when", ["before undo", "after undo"])
def test_set_id_bits_stay_off_of_what_was_written_to_though_they_are_asked_for(
    fastest: Program, ext4: Path, alter: Callable[[Path], None], when: str
) -> None:
    tool, free = put(ext4, 0o4755), put(ext4, 0o4755, "free")
    run = fastest.perms(ext4).summary["run"]
    if when == "after undo":
        made(fastest("undo", run).status == 3, "an undo that left them off")
        os.chown(ext4, 0, GID)
        ext4.chmod(0o770)
        tool.chmod(0o777)
    alter(tool)
    if when == "after undo":
        ext4.chmod(0o700)
        os.chown(ext4, 0, 0)
        tool.chmod(0o755)
    ended = fastest("undo", "--json", "--restore-set-id", run)
    assert (ended.status, bits(tool), bits(free)) == (3, 0o755, 0o4755)
    assert failures(ended).keys() == {"tool"}
    assert "written" in failures(ended)["tool"]


def test_set_id_bits_stay_off_though_they_are_asked_for_where_leases_tell_nothing(
    fastest: Program, tmpfs: Path, tmp_path: Path, mount: Callable[..., Path]
) -> None:
    for name in ("lower", "upper", "work"):
        (tmpfs / name).mkdir()
    layers = f"lowerdir={tmpfs}/lower,upperdir={tmpfs}/upper,workdir={tmpfs}/work"
    share = mount(tmp_path / "merged", "-t", "overlay", "-o", layers, "overlay")
    tool = put(share, 0o4755)
    made(fastest.perms(share).status == 0, "a finished run")
    ended = fastest("undo", "--restore-set-id")
    assert (ended.status, bits(tool)) == (3, 0o755)
    assert "overlay" in ended.out + ended.err


def test_set_id_bits_stay_off_on_tmpfs_where_a_write_by_a_mapping_leaves_no_trace(
    fastest: Program, tmpfs: Path
) -> None:
    tool = put(tmpfs, 0o4755)
    made(fastest.perms(tmpfs).status == 0, "a finished run")
    before = tool.stat()
    write_by_a_mapping(tool)
    now = tool.stat()
    made(
        (now.st_mtime_ns, now.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns),
        "a write without a trace",
    )
    ended = fastest("undo", "--json", "--restore-set-id")
    assert (ended.status, bits(tool)) == (3, 0o755)
    assert "tmpfs" in failures(ended)["tool"]


# -- somebody waits for the lease

OPENS = """
import mmap, os, sys
os.setgroups([])
os.setresgid(*3 * [int(sys.argv[3])])
os.setresuid(*3 * [int(sys.argv[4])])
mapping = mmap.mmap(os.open(sys.argv[1], os.O_RDWR, dir_fd=int(sys.argv[2])), 0)
print("open", flush=True)
sys.stdin.readline()
mapping[:len(sys.argv[5])] = sys.argv[5].encode()
"""


class Waiting:
    """Somebody who opens a file, and waits for a lease on it to be released."""

    def __init__(self, path: Path, *, gid: int, uid: int) -> None:
        directory = os.open(path.parent, os.O_PATH)
        words = [path.name, directory, gid, uid, WRITTEN.decode()]
        self._process = subprocess.Popen(
            [sys.executable, "-c", OPENS, *map(str, words)],
            pass_fds=[directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        os.close(directory)
        inode = f":{path.stat().st_ino} "
        while not any("BREAKING" in line and inode in line for line in _locks()):
            made(self._process.poll() is None, "somebody who waits for a lease")
            time.sleep(0.01)

    def write(self) -> None:
        """Write to the file by a mapping, now that it is open."""
        assert self._process.stdout
        made(self._process.stdout.readline() == b"open\n", "a file that is open")
        self._process.communicate(b"\n")


def _locks() -> list[str]:
    return Path("/proc/locks").read_text().splitlines()


def test_bits_that_are_set_under_a_lease_are_a_members_who_waits_for_it(ext4: Path) -> None:
    """The control of the second attack."""
    tool = put(ext4, 0o775)
    for path in (ext4, tool):
        os.chown(path, 0, GID)
    ext4.chmod(0o770)
    opened = os.open(tool, os.O_RDONLY)
    fcntl.fcntl(opened, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(opened, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    member = Waiting(tool, gid=GID, uid=NOBODY)
    os.chown(tool, 0, 0)
    tool.chmod(0o4755)
    os.close(opened)
    member.write()
    assert is_members_set_id_program(tool)


def test_member_who_waits_for_a_lease_gets_no_set_id_program(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = put(ext4, 0o4755)
    made(fastest.perms(ext4).status == 0, "a finished run")
    members: list[Waiting] = []
    put_one_back = UndoJob._put_one_back

    def open_meanwhile(job: UndoJob, *args: Any) -> None:
        members.append(Waiting(tool, gid=GID, uid=NOBODY))
        put_one_back(job, *args)

    monkeypatch.setattr(UndoJob, "_put_one_back", open_meanwhile)
    ended = fastest("undo", "--restore-set-id")
    made(len(members) == 1, "one who waited")
    members[0].write()
    made(tool.read_bytes().startswith(WRITTEN), "a write by him")
    assert (ended.status, bits(tool)) == (3, 0o755)


def test_bits_go_off_again_if_somebody_comes_while_they_are_set(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = put(ext4, 0o4755)
    made(fastest.perms(ext4).status == 0, "a finished run")
    others: list[Waiting] = []
    fchmod = os.fchmod

    def open_meanwhile(fd: int, mode: int) -> None:
        if mode == 0o4755:
            others.append(Waiting(tool, gid=0, uid=0))
        fchmod(fd, mode)

    monkeypatch.setattr("archipmigrate.perms.set_id.os.fchmod", open_meanwhile)
    ended = fastest("undo", "--restore-set-id")
    made(len(others) == 1, "one who waited")
    others[0].write()
    made(tool.read_bytes().startswith(WRITTEN), "a write by him")
    assert (ended.status, bits(tool)) == (3, 0o755)


# -- killed


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it."""


def kill_in_last_phase(
    fastest: Program, monkeypatch: pytest.MonkeyPatch, *, after: bool, option: bool = True
) -> None:
    restore = set_id.restore

    def killed(*args: Any) -> bool:
        if after:
            restore(*args)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(set_id, "restore", killed)
        with pytest.raises(Killed):
            fastest("undo", *(["--restore-set-id"] if option else []))


@pytest.mark.parametrize("again", [["undo"], ["undo", "--restore-set-id"], ["resume"]])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_undo_that_was_killed_in_its_last_phase_is_completed(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch, again: list[str], *, after: bool
) -> None:
    tools = [put(ext4, 0o4755, name) for name in ("one", "two")]
    made(fastest.perms(ext4).status == 0, "a finished run")
    kill_in_last_phase(fastest, monkeypatch, after=after)
    assert sum(bits(tool) == 0o4755 for tool in tools) == after
    assert fastest(*again).status == 0
    assert [bits(tool) for tool in tools] == [0o4755, 0o4755]


def test_bits_that_a_killed_undo_set_go_off_if_the_file_is_open_by_now(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = put(ext4, 0o4755)
    made(fastest.perms(ext4).status == 0, "a finished run")
    kill_in_last_phase(fastest, monkeypatch, after=True)
    made(bits(tool) == 0o4755, "bits that are on")
    with tool.open("r+b"):
        assert fastest("undo").status == 3
    assert bits(tool) == 0o755


def test_undo_that_was_cut_off_without_the_option_is_begun_again_with_it(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = put(ext4, 0o4755)
    made(fastest.perms(ext4).status == 0, "a finished run")

    def killed(job: UndoJob, *args: Any, **more: Any) -> UnitResult:
        apply(job, *args, **more)
        raise Killed

    apply = UndoJob.apply
    with monkeypatch.context() as patched:
        patched.setattr(UndoJob, "apply", killed)
        with pytest.raises(Killed):
            fastest("undo")
    made(bits(tool) == 0o755, "a file that is back")
    assert fastest("undo", "--restore-set-id").status == 0
    assert bits(tool) == 0o4755


def test_undo_of_an_earlier_version_that_was_killed_is_completed(
    fastest: Program, ext4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pre-images say which set-id bits were to come back; they do not."""
    tool = put(ext4, 0o4755)
    made(fastest.perms(ext4).status == 0, "a finished run")
    scan = UndoJob.scan

    def scan_as_before(job: UndoJob, *args: Any) -> Scan:
        found = scan(job, *args)
        granted = Part(1, frozenset({0})).pack()
        return replace(found, preimage=found.preimage + granted)

    def killed(*args: Any, **more: Any) -> UnitResult:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(UndoJob, "scan", scan_as_before)
        patched.setattr(UndoJob, "apply", killed)
        with pytest.raises(Killed):
            fastest("undo")
    ended = fastest("undo", "--json")
    assert (ended.status, bits(tool), tool.stat().st_gid) == (3, 0o755, 0)
    assert (ended.summary["changed"], ended.summary["skipped"]) == (1, 1)
