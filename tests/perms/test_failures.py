"""Entries that cannot be changed: counted, named, and no reason not to change the others."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import archipmigrate.backend.python.apply as posix
import archipmigrate.backend.python.setattr as setattr_of
from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.engine.stop import ENOUGH
from archipmigrate.errors import JournalError
from archipmigrate.journal.store import Journal, Write
from archipmigrate.model import RETRIES, Failure, Limits, Tally
from archipmigrate.packed.groups import Group, Hint, walk_unit
from archipmigrate.perms.job import PermsJob
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from tests.support import restricted
from tests.support.inprocess import Program
from tests.support.program import GID, Cli, Ended, attrs, drift, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

NOBODY = 65534
LAUNCH = (sys.executable, str(Path(restricted.__file__)))


# -- what nobody may change


@pytest.fixture
def protected(share: Path) -> Iterator[Path]:
    """A share with entries that not even root may change, in three places, and others."""
    chattr = need("chattr", "e2fsprogs")
    for name in ("fixed", "growing", "free"):
        (share / name).mkdir(mode=0o700)
        (share / name / "file").write_text("content")
        (share / name / "inside").mkdir(mode=0o700)
    (share / "fixed-file").write_text("content")
    flags = {"fixed": "i", "growing": "a", "fixed-file": "i", "free/file": "a"}
    try:
        for name, flag in flags.items():
            subprocess.run([chattr, f"+{flag}", share / name], check=True, capture_output=True)
        yield share
    finally:
        subprocess.run([chattr, "-ia", *(share / name for name in flags)], check=False)


PROTECTED = {b"fixed": "immutable", b"growing": "append-only"} | {
    b"fixed-file": "immutable",
    b"free/file": "append-only",
}


def test_protected_entries_fail_and_all_others_are_changed(
    program: Program, protected: Path
) -> None:
    before = attrs(protected)
    ended = program.perms(protected)
    summary = ended.summary
    assert (ended.status, summary["status"]) == (3, "failures")
    assert (summary["failed"], summary["changed"]) == (4, len(before) - 4)
    assert summary["entries"] == summary["directories"] + summary["files"] == len(before)
    assert set(drift(protected)) == set(PROTECTED)
    after = attrs(protected)
    assert all(after[path] == before[path] for path in PROTECTED)
    failures = [thing for thing in ended.objects if thing["type"] == "failure"]
    assert {thing["path"].encode(): thing["reason"] for thing in failures} == {
        path: f"chown: EPERM ({why})" for path, why in PROTECTED.items()
    }
    assert {(thing["operation"], thing["errno"]) for thing in failures} == {("chown", errno.EPERM)}


def test_failures_are_grouped_by_cause_in_words(program: Program, protected: Path) -> None:
    ended = program("perms", "--group", GID, protected)
    assert ended.status == 3
    lines = [line for line in ended.out.splitlines() if line.startswith("failed: ")]
    assert sorted(line.rpartition(": ")[0] for line in lines) == [
        "failed: 2 x chown: EPERM (append-only)",
        "failed: 2 x chown: EPERM (immutable)",
    ]
    assert sorted(", ".join(line.rpartition(": ")[2] for line in lines).split(", ")) == sorted(
        path.decode() for path in PROTECTED
    )
    assert "done, with failures," in ended.out
    assert "--failed" in ended.out


def test_quiet_prints_failures_only_and_verbose_each_at_once(
    program: Program, protected: Path
) -> None:
    quiet = program("perms", "-q", "--group", GID, protected)
    assert quiet.status == 3
    assert len(quiet.out.splitlines()) == 2
    assert quiet.err == ""
    verbose = program("perms", "-v", "--group", GID, protected)
    assert verbose.status == 3
    assert "fixed-file: chown: EPERM (immutable)" in verbose.err.splitlines()


def test_failed_entries_are_changed_when_the_cause_is_gone(
    program: Program, protected: Path
) -> None:
    run = program.perms(protected).summary["run"]
    subprocess.run([need("chattr"), "-ia", *map(os.fsdecode, paths(protected))], check=True)
    ended = program("resume", "--failed", "--json", run)
    assert (ended.status, ended.summary["status"]) == (0, "done")
    assert (ended.summary["changed"], ended.summary["failed"]) == (len(attrs(protected)), 0)
    assert not drift(protected)


def test_retries_that_are_cut_off_are_not_lost(
    program: Program, protected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is committed last: a failure is still one, or waits on the frontier."""
    run = program.perms(protected).summary["run"]
    commit, take = Journal.commit, Journal.take_failures
    taken: list[Failure] = []

    def cut(journal: Journal, writes: list[Write]) -> None:
        if taken:
            raise JournalError("cut off")
        commit(journal, writes)

    def noted(journal: Journal) -> list[Failure]:
        taken.extend(take(journal))
        return list(taken)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "commit", cut)
        patch.setattr(Journal, "take_failures", noted)
        program("resume", "--failed", "--json", run)
    made(bool(taken), "a session that was cut off after it had taken the failures")
    subprocess.run([need("chattr"), "-ia", *map(os.fsdecode, paths(protected))], check=True)
    ended = program("resume", "--failed", "--json", run)
    assert (ended.status, ended.summary["failed"]) == (0, 0)
    assert not drift(protected)


def test_undo_of_a_run_with_failures_restores_what_it_changed(
    program: Program, protected: Path
) -> None:
    before = attrs(protected)
    changed = program.perms(protected).summary["changed"]
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, changed)
    assert attrs(protected) == before


def counts(ended: Ended) -> dict[str, int]:
    """Return the counts of a summary that are not 0."""
    names = ("entries", "directories", "files", "changed", "compliant", "skipped", "failed")
    return {name: ended.summary[name] for name in names if ended.summary[name]}


@pytest.mark.parametrize("jobs", ["1", "8", "auto"])
def test_undo_counts_an_entry_once_that_was_tried_several_times(
    program: Program, protected: Path, jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipmigrate.engine.limits.FIRST_CHANGES", 2)
    before = attrs(protected)
    directories = sum(stat.S_ISDIR(mode) for mode, _, _ in before.values())
    program.perms(protected)
    once = {"entries": len(before), "directories": directories, "files": len(before) - directories}
    program("resume", "--failed", "--json")
    subprocess.run([need("chattr"), "-ia", *map(os.fsdecode, paths(protected))], check=True)
    assert program("resume", "--failed", "--json").summary["changed"] == len(before)
    ended = program("undo", "--json", "--jobs", jobs)
    assert (ended.status, counts(ended)) == (0, {**once, "changed": len(before)})
    assert attrs(protected) == before


def test_undo_counts_what_was_never_changed_as_it_was(program: Program, protected: Path) -> None:
    before = attrs(protected)
    changed = program.perms(protected).summary["changed"]
    program("resume", "--failed", "--json")
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["entries"]) == (0, len(before))
    assert (ended.summary["changed"], ended.summary["compliant"]) == (changed, 4)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which so manieth changes of a mode fail, by the Python backend with one lane."""
    real, numbers, calls = setattr_of.change_mode, list[int](), itertools.count(1)

    def change_mode(fd: int, mode: int, *, is_pin: bool) -> None:
        if next(calls) in numbers:
            raise OSError(errno.EPERM, "")
        real(fd, mode, is_pin=is_pin)

    monkeypatch.setattr(posix, "change_mode", change_mode)
    return numbers


@pytest.mark.parametrize("jobs", ["1", "8"])
def test_undo_of_what_was_half_done_and_tried_again_goes_all_the_way(
    state: Path, share: Path, failing: list[int], jobs: str
) -> None:
    for number in range(6):
        (share / str(number)).touch(mode=0o600)
        os.chown(share / str(number), 1000, 1000)
    before = attrs(share)
    program = Program("python", state)
    failing += [2, 3, 5]
    assert program.perms(share, "--jobs", 1).summary["failed"] == 3
    assert sum(gid == GID and not mode & 0o020 for mode, _, gid in attrs(share).values()) == 3
    assert program("resume", "--failed", "--json", "--jobs", 1).summary["changed"] == 7
    ended = program("undo", "--json", "--jobs", jobs)
    assert (ended.status, ended.err) == (0, "")
    assert counts(ended) == {"entries": 7, "directories": 1, "files": 6, "changed": 7}
    assert attrs(share) == before


def test_undo_tries_again_what_may_pass_also_of_entries_that_were_tried_again(
    state: Path, share: Path, failing: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the calls that put an entry back fails once: the first attempts are half done."""
    for number in range(6):
        (share / str(number)).touch(mode=0o600)
        os.chown(share / str(number), 1000, 1000)
    before = attrs(share)
    program = Program("python", state)
    failing += [2, 3, 5]
    made(program.perms(share, "--jobs", 1).summary["failed"] == 3, "changes that fail")
    made(program("resume", "--failed", "--jobs", 1).status == 0, "changes that were tried again")
    failed: set[tuple[str, int]] = set()

    def once(name: str) -> None:
        real = getattr(posix, name)

        def change(fd: int, *values: int, is_pin: bool) -> None:
            call = name, os.fstat(fd).st_ino
            if call not in failed:
                failed.add(call)
                raise OSError(errno.ESTALE, "")
            real(fd, *values, is_pin=is_pin)

        monkeypatch.setattr(posix, name, change)

    once("change_mode")
    once("change_owner")
    ended = program("undo", "--json", "--jobs", 1)
    made(len(failed) == 2 * len(before), "calls that failed")
    assert (ended.status, ended.err) == (0, "")
    assert counts(ended) == {"entries": 7, "directories": 1, "files": 6, "changed": 7}
    assert attrs(share) == before


def test_undo_takes_a_run_that_left_an_entry_half_done(
    state: Path, share: Path, failing: list[int]
) -> None:
    program = Program("python", state)
    made(program.perms(share, "--jobs", 1).summary["changed"] == 1, "a run that changed something")
    (share / "new").touch()
    os.chown(share / "new", 1000, 1000)
    (share / "new").chmod(0o600)
    before = attrs(share)
    failing += [2]
    second = program.perms(share, "--jobs", 1).summary
    made((second["changed"], second["failed"]) == (0, 1), "a run that changed nothing wholly")
    made(attrs(share)[b"new"] == (0o100600, 1000, GID), "an entry that is half done")
    assert program("undo", "--json").summary["undone"] == second["run"]
    assert attrs(share) == before


def test_undo_goes_back_to_what_somebody_made_of_an_entry_between_two_tries(
    program: Program, protected: Path
) -> None:
    program.perms(protected)
    subprocess.run([need("chattr"), "-ia", *map(os.fsdecode, paths(protected))], check=True)
    (protected / "fixed-file").chmod(0o604)
    between = attrs(protected)[b"fixed-file"]
    program("resume", "--failed")
    ended = program("undo", "--json")
    assert (ended.status, ended.summary["changed"]) == (0, ended.summary["entries"])
    assert attrs(protected)[b"fixed-file"] == between


def paths(share: Path) -> list[bytes]:
    return [os.path.join(os.fsencode(share), path) for path in PROTECTED]


# -- what this user may not change


@pytest.fixture
def reachable(backend: str) -> Iterator[tuple[Cli, Path]]:
    """The program as a user without rights, with a state directory of his, and a share of root's.

    Pytest's own directories are root's alone.
    """
    with tempfile.TemporaryDirectory(prefix="archipmigrate-test-") as place:
        top = Path(place)
        top.chmod(0o755)
        share, state = top / "share", top / "state"
        share.mkdir(mode=0o755)
        state.mkdir(mode=0o700)
        os.chown(state, NOBODY, NOBODY)
        env = {"XDG_RUNTIME_DIR": "", "HOME": str(top)}
        yield Cli(backend, state, env, (*LAUNCH, "--user", str(NOBODY), "--")), share


def as_root(cli: Cli) -> Program:
    """Return the program as root, to whom the state directory is given."""
    for path in (cli.state, *cli.state.iterdir()):
        os.chown(path, 0, 0)
    return Program(cli.backend, cli.state)


def fill(share: Path, files: int) -> None:
    for number in range(files):
        os.close(os.open(share / f"file-{number}", os.O_CREAT, 0o644))


@pytest.mark.parametrize("files", [3, 4 * ENOUGH], ids=["few", "many"])
def test_refused_user_stops_the_run_and_root_finishes_it(
    reachable: tuple[Cli, Path], files: int
) -> None:
    cli, share = reachable
    fill(share, files)
    before = attrs(share)
    ended = cli("perms", "--jobs", 1, "--group", GID, share)
    assert ended.status == 1
    assert "stopped" in ended.out
    assert "every change was refused (chown: EPERM)" in ended.out
    assert "begin anew as root" in ended.out
    assert attrs(share) == before
    told = cli("resume", "--jobs", 1, "--json")
    assert (told.status, told.summary["status"]) == (1, "stopped")
    # The whole share was not tried in vain: each unit at work gives up after so many.
    assert told.summary["failed"] <= min(files + 1, 3 * ENOUGH)
    resumed = as_root(cli)("resume", "--json")
    assert (resumed.status, resumed.summary["status"]) == (0, "done")
    assert resumed.summary["run"] == told.summary["run"]
    assert (resumed.summary["changed"], resumed.summary["failed"]) == (files + 1, 0)
    assert resumed.summary["entries"] == files + 1
    assert not drift(share)


def test_share_that_cannot_be_entered_stops_the_run(reachable: tuple[Cli, Path]) -> None:
    cli, share = reachable
    fill(share, 3)
    share.chmod(0o700)
    ended = cli("perms", "--json", "--group", GID, share)
    assert (ended.status, ended.summary["status"]) == (1, "stopped")
    assert (ended.summary["entries"], ended.summary["failed"]) == (1, 1)
    words = cli("resume")
    assert "every change was refused (open: EACCES)" in words.out
    resumed = as_root(cli)("resume", "--json").summary
    assert (resumed["status"], resumed["failed"]) == ("done", 0)
    assert resumed["entries"] == resumed["changed"] == 4
    assert not drift(share)


def test_user_changes_what_is_his_and_the_rest_fails(reachable: tuple[Cli, Path]) -> None:
    cli, share = reachable
    (share / "his").mkdir()
    fill(share / "his", 3)
    fill(share, 2)
    (share / "closed").mkdir(mode=0o700)
    for path in (share / "his", *(share / "his").iterdir()):
        os.chown(path, NOBODY, GID)
    cli.env["ARCHIPMIGRATE_GROUP"] = str(NOBODY)
    ended = cli("perms", "--json", share)
    assert (ended.status, ended.summary["status"]) == (3, "failures")
    assert (ended.summary["changed"], ended.summary["failed"]) == (4, 4)
    wrong = {b"", b"file-0", b"file-1", b"closed"}
    assert set(drift(share, NOBODY)) == wrong


def test_user_can_verify_what_he_can_read(reachable: tuple[Cli, Path]) -> None:
    cli, share = reachable
    fill(share, 3)
    (share / "closed").mkdir(mode=0o700)
    ended = cli("verify", "--json", "--group", GID, share)
    assert (ended.status, ended.summary["status"]) == (3, "failures")
    assert (ended.summary["drift"], ended.summary["failed"]) == (4, 1)


# -- system calls that are not there


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_system_calls_that_are_denied_are_done_without(cli: Cli, share: Path, error: str) -> None:
    (share / "a" / "b").mkdir(parents=True, mode=0o700)
    (share / "a" / "b" / "file").write_text("")
    (share / "link").symlink_to("a")
    before = attrs(share)
    deny = [word for name in ("openat2", "fchmodat2") for word in ("--deny", f"{name}={error}")]
    denied = replace(cli, prefix=(*LAUNCH, *deny, "--"))
    ended = denied.perms(share)
    assert (ended.status, ended.summary["status"]) == (0, "done")
    assert ended.summary["changed"] == 4
    assert not drift(share)
    assert denied("verify", "--group", GID, share).status == 0
    assert denied("undo").status == 0
    assert attrs(share) == before


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_launcher_really_denies(error: int) -> None:
    """The control of the test above."""
    script = (
        "import ctypes, errno, sys; sys.path.insert(0, sys.argv[1]); import restricted\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "restricted.deny([(437, int(sys.argv[2])), (452, int(sys.argv[2]))])\n"
        "for number in (437, 452):\n"
        "    assert libc.syscall(number, -100, b'.', 0, 0) == -1\n"
        "    print(ctypes.get_errno())\n"
    )
    words = [sys.executable, "-c", script, str(Path(restricted.__file__).parent), str(error)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(error), str(error)]


# -- what could not be looked at in the end


def check_names_fail_each_for_itself(share: str, backend: str, *, counted: bool) -> None:
    """See that a retry looks at them alone: the directory has more, which was looked at before."""
    where = b"n" * 256  # no filesystem takes that
    names = ((Hint.SELF, b""), (Hint.ENTRY, b"file"), (Hint.DIRECTORY, b"below"))
    unit = walk_unit([Group(where, 0, names)], retries=RETRIES, counted=counted)
    opened = open_share(share, remote=True)
    job = PermsJob(open_backend(backend, opened, 1), GroupPolicy(GID), ScanOptions())
    scan = job.scan(unit, Limits(1.0, 1000, 1000))
    found = [(f.path, f.operation, f.errno, f.hint) for f in scan.failures]
    assert found == [
        (where, "revisit", errno.ENAMETOOLONG, Hint.SELF),
        (where + b"/file", "stat", errno.ENAMETOOLONG, Hint.ENTRY),
        (where + b"/below", "open", errno.ENAMETOOLONG, Hint.WALK),
    ]
    new = 0 if counted else 1
    assert scan.tally == Tally(2 * new, directories=new, files=new, failed=3)
    job.backend.close()
    opened.close()


@pytest.mark.parametrize("counted", [False, True])
def test_names_of_a_directory_that_cannot_be_opened_again_fail_each_for_itself(
    share: Path, backend: str, *, counted: bool
) -> None:
    check_names_fail_each_for_itself(str(share), backend, counted=counted)
