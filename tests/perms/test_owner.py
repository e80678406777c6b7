"""`perms --owner`: the share goes to an owner as well as to a group, and exactly back."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.backend.python import apply
from archipmigrate.backend.python import setattr as setattr_
from archipmigrate.jobs.outcome import unpack_outcome
from archipmigrate.model import IdentityKind
from archipmigrate.packed.changes import read_changes
from archipmigrate.perms.settings import PermsSettings
from archipmigrate.policy import NO_ID
from tests.support import restricted
from tests.support.compiled import library
from tests.support.guide import follow_guide
from tests.support.inprocess import Program
from tests.support.journals import interrupt, journal_of, reopened
from tests.support.kill import count_off, expected_tally, migrated, tally_of, undone
from tests.support.odd_tree import odd_tree, put
from tests.support.program import GID, Cli, Ended, attrs, need
from tests.support.situations import made

pytestmark = pytest.mark.privileged

UID = 54322  # of nobody, on any system


def perms(program: Program | Cli, share: Path, *args: object) -> Ended:
    return program("perms", "--json", "--group", GID, "--owner", UID, *args, share)


def owned(share: Path) -> dict[bytes, tuple[int, int, int]]:
    """Return the attrs of a tree that does not have them yet, as they must become."""
    return migrated(attrs(share), UID)


@pytest.fixture
def odd(share: Path) -> Path:
    """A share of files and directories of several owners, groups and modes."""
    odd_tree(share)
    put(share / "c" / "right_owner", 0o660, 3, uid=UID)
    put(share / "c" / "all_right", 0o4660, GID, uid=UID)
    put(share / "c" / "only_owner", 0o660, GID, uid=7)
    put(share / "c" / "only_owner_set_id", 0o6775, GID, uid=7)
    os.symlink("all_right", share / "c" / "link")
    os.mkfifo(share / "c" / "fifo")
    return share


def test_end_state_is_that_of_the_guide_with_a_chown_behind_it(program: Program, odd: Path) -> None:
    before = attrs(odd)
    assert perms(program, odd).status == 0
    ours = attrs(odd)
    for path, (mode, uid, gid) in before.items():
        if not stat.S_ISLNK(mode):
            put(odd / os.fsdecode(path), stat.S_IMODE(mode), gid, uid=uid)
    made(attrs(odd) == before, "the tree as it was")
    follow_guide(odd)
    for kind in ("d", "f"):
        words = ["-type", kind, "-exec", "chown", str(UID), "{}", ";"]
        subprocess.run([need("find", "findutils"), odd, *words], check=True)
    theirs = attrs(odd)
    assert {path for path in ours if ours[path] != theirs[path]} == {b"c/all_right"}
    assert ours[b"c/all_right"] == before[b"c/all_right"]  # complied: not touched


def test_owner_group_and_mode_are_changed_and_put_back(program: Program, odd: Path) -> None:
    before, tally, wanted = attrs(odd), expected_tally(odd, UID), owned(odd)
    off = count_off(before, odd, UID)
    dry = perms(program, odd, "--dry-run")
    assert tally_of(dry) == tally
    assert attrs(odd) == before
    drift = program("verify", "--json", "--group", GID, "--owner", UID, odd)
    assert (drift.status, drift.summary["drift"]) == (4, tally["changed"])
    ended = perms(program, odd)
    assert (ended.status, tally_of(ended)) == (0, tally)
    assert attrs(odd) == wanted
    assert program("verify", "--group", GID, "--owner", UID, odd).status == 0
    assert perms(program, odd).summary["changed"] == 0
    undo = program("undo", "--json")
    assert (undo.summary["changed"], undo.summary["skipped"]) == (tally["changed"] - off, off)
    assert attrs(odd) == undone(before, UID)


def test_without_it_owners_stay_and_the_journal_is_what_it_was(program: Program, odd: Path) -> None:
    before = attrs(odd)
    assert program.perms(odd).status == 0
    assert attrs(odd) == migrated(before)
    with reopened(journal_of(program.state)) as journal:
        settings = journal.read_header().settings
        assert (settings["gid"], "ids" in settings) == (GID, False)
        assert {journal.preimage(number)[0] for number in journal.batches()} == {1}
        for number in journal.batches():
            assert {c.new_uid for c in read_changes(journal.preimage(number))} == {NO_ID}


def test_what_differs_is_one_call_for_owner_and_group(cli: Cli, share: Path, state: Path) -> None:
    """By the number of calls after which there is none to be killed at."""
    put(share / "both", 0o600)
    put(share / "owner", 0o660, GID)
    put(share / "mode", 0o600, GID, uid=UID)
    put(share, 0o2770, GID, uid=UID)
    wanted = owned(share)
    killer = replace(cli, env={"LD_PRELOAD": str(library("kill_at")), "KILL_AT": "5"})
    ended = perms(killer, share, "--jobs", 1)  # chown, chmod; chown; chmod
    assert (ended.status, attrs(share)) == (0, wanted)


# -- what is shown


def test_changes_are_listed_with_their_owners(program: Program, share: Path) -> None:
    put(share / "file", 0o600, uid=1)
    options = ("-n", "--list", "--group", "sys", "--owner", "bin", share)
    listed = program("perms", "-q", *options).out.splitlines()
    assert sorted(listed) == [
        "d 0700 root:root -> 2770 bin:sys  .",
        "f 0600 daemon:root -> 0660 bin:sys  file",
    ]
    (change,) = [
        found
        for found in program("perms", "--json", *options).objects
        if (found["type"], found.get("path")) == ("change", "file")
    ]
    assert (change["uid"], change["new_uid"]) == (1, 2)
    without = program("perms", "--json", "-n", "--list", "--group", GID, share).objects[0]
    assert {"uid", "new_uid"} & set(without) == set()


def test_summary_names_owner_and_group_and_the_next_command(program: Program, share: Path) -> None:
    out = program("perms", "-n", "--group", "sys", "--owner", "bin", share).out
    assert "1 entry would be changed to bin:sys" in out
    assert re.search(r"do it with: .* perms --group sys --owner bin ", out)
    out = program("perms", "--group", "sys", "--owner", "bin", share).out
    assert "1 changed to bin:sys" in out
    assert re.search(r"check it with: .* verify --group sys --owner bin ", out)


@pytest.mark.parametrize(
    ("owner", "said"),
    [("nobody-here", "there is no such user"), (NO_ID, "uids end at"), ("\u0663", "no such user")],
)
def test_owner_that_is_none_is_refused(
    program: Program, share: Path, owner: object, said: str
) -> None:
    before = attrs(share)
    ended = program("perms", "--group", GID, "--owner", owner, share)
    assert (ended.status, attrs(share)) == (2, before)
    assert said in ended.err
    assert list(program.state.glob("*.journal")) == []


# -- resume


def test_run_goes_on_with_its_owner_and_not_without(program: Program, odd: Path) -> None:
    wanted = owned(odd)
    run = perms(program, odd).summary["run"]
    interrupt(program.state / f"{run}.journal")
    other = program("perms", "--group", GID, odd)
    assert f"{run} is unfinished, but has other options" in other.err
    resumed = perms(program, odd).summary
    assert (resumed["run"], resumed["resumed"]) == (run, True)
    interrupt(program.state / f"{run}.journal")
    assert program("resume", run).status == 0
    assert attrs(odd) == wanted


@pytest.mark.parametrize("uid", [NO_ID, 0, UID])
def test_settings_come_back_and_keep_earlier_versions_from_an_owner(uid: int) -> None:
    settings = PermsSettings(GID, ("a",), False, True, uid=uid)
    stored = settings.as_dict()
    assert PermsSettings.from_dict(stored) == settings
    assert ("gid" in stored) == (uid == NO_ID)


# -- somebody else meanwhile


def test_entry_of_a_third_owner_is_left_alone_by_undo(program: Program, odd: Path) -> None:
    before = attrs(odd)
    assert perms(program, odd).status == 0
    os.chown(odd / "a" / "right_bits", 3, -1)
    ended = program("undo", "--json")
    off = count_off(before, odd, UID)
    assert (ended.status, ended.summary["skipped"]) == (3, off + 1)
    assert attrs(odd)[b"a/right_bits"] == (0o100660, 3, GID)


def test_moved_entry_gets_its_owner_back(program: Program, share: Path) -> None:
    (share / "d").mkdir(mode=0o700)
    put(share / "file", 0o600, 8, uid=7)
    before = attrs(share)
    assert perms(program, share).status == 0
    os.rename(share / "file", share / "d" / "elsewhere")
    assert program("undo").status == 0
    assert attrs(share)[b"d/elsewhere"] == before[b"file"]


# -- what a server or filesystem does not keep


def test_owner_that_reads_back_differently_stops_the_run_and_is_undone(
    state: Path, odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = attrs(odd)
    program = Program("python", state)

    def squash(fd: int, uid: int, gid: int, *, is_pin: bool) -> None:
        setattr_.change_owner(fd, 65534 if uid == UID else uid, gid, is_pin=is_pin)

    monkeypatch.setattr(apply, "change_owner", squash)
    ended = perms(program, odd, "--backend", "python", "--jobs", 1)
    assert (ended.status, ended.summary["changed"]) == (1, 0)
    assert f"owner {UID}, group {GID}; came mode" in ended.out
    assert "owner 65534" in ended.out
    assert "maps ids" in ended.out
    made({uid for _, uid, _ in attrs(odd).values()} & {65534}, "an entry of another owner")
    monkeypatch.undo()
    undo = program("undo", "--json")
    assert undo.summary["failed"] == 0
    assert {uid for _, uid, _ in attrs(odd).values()} & {65534} == set()
    assert all(now[1:] == before[path][1:] for path, now in attrs(odd).items())


# -- without the right to


def test_ordinary_user_gives_nothing_away(backend: str) -> None:
    with tempfile.TemporaryDirectory(prefix="archipmigrate-test-") as place:
        top = Path(place)
        top.chmod(0o755)
        for name in ("share", "state"):
            (top / name).mkdir(mode=0o700)
            os.chown(top / name, 65534, 65534)
        put(top / "share" / "file", 0o600, 65534, uid=65534)
        before = attrs(top / "share")
        launch = (sys.executable, str(Path(restricted.__file__)), "--user", "65534", "--")
        cli = Cli(backend, top / "state", {"XDG_RUNTIME_DIR": "", "HOME": place}, launch)
        ended = cli("perms", "--group", 65534, "--owner", UID, top / "share")
        assert (ended.status, attrs(top / "share")) == (1, before)
        assert "every change was refused (chown: EPERM)" in ended.out + ended.err
        allowed = cli("perms", "--fresh", "--group", 65534, "--owner", 65534, top / "share")
        assert allowed.status == 0  # his own stays his own


# -- set-id bits


def test_set_id_bits_come_back_with_the_owner(program: Program, ext4: Path) -> None:
    put(ext4 / "tool", 0o4755)
    put(ext4 / "his", 0o6711, 8, uid=7)
    before = attrs(ext4)
    assert perms(program, ext4).status == 0
    assert attrs(ext4)[b"tool"] == (0o100775, UID, GID)
    ended = program("undo", "--json", "--restore-set-id")
    assert (ended.status, ended.summary["changed"]) == (0, 3)
    assert attrs(ext4) == before


@pytest.mark.parametrize("writes", [False, True])
def test_set_id_bits_stay_off_if_the_new_owner_may_have_set_the_times_back(
    cli: Cli, ext4: Path, writes: bool
) -> None:
    """Killed before the ctime was recorded: only size and mtime tell then, which he can set."""
    put(ext4 / "tool", 0o4755)
    killer = replace(cli, env={"LD_PRELOAD": str(library("kill_at")), "KILL_AT": "3"})
    perms(killer, ext4, "--jobs", 1)
    made(attrs(ext4)[b"tool"] == (0o100775, UID, GID), "a run that was killed after the file")
    times = (ext4 / "tool").stat()
    if writes:
        (ext4 / "tool").write_bytes(b"evil")
        os.utime(ext4 / "tool", ns=(times.st_atime_ns, times.st_mtime_ns))
    made((ext4 / "tool").stat().st_size == times.st_size, "a file of the same size")
    assert cli("resume").status == 0
    ended = cli("undo", "--json", "--restore-set-id")
    assert (ended.status, ended.summary["skipped"]) == (3, 1)
    assert attrs(ext4)[b"tool"] == (0o100755, 0, 0)


# -- journals of the version before, which knew no owners

PREIMAGE = bytes.fromhex(
    "0100010031d4000001000000000000000200000000000000020004008081b08107000000080000000c000000"
    "0000000066696c6502010300ed89fd8100000000000000000d00000000000000050000000000000001002a36"
    "fe9c971773657401000000010000000e000000000000006404000000e841f84507000000080000000e000000"
    "0000000004000000c041f84500000000000000000200000000000000"
)
OUTCOME = bytes.fromhex(
    "0400000003002a36fe9c971701000000000005000100000009002a36fe9c9717010000000102000000f84131"
    "d400001500000000000000160000000000000017000000000000001800000000000000"
)


def test_changes_of_the_version_before_are_read() -> None:
    found = [
        (c.path, c.mode, c.new_mode, c.uid, c.gid, c.new_uid, c.new_gid)
        for c in read_changes(PREIMAGE)
    ]
    assert found == [
        (b"file", 0o100600, 0o100660, 7, 8, NO_ID, 54321),
        (b"set", 0o104755, 0o100775, 0, 0, NO_ID, 54321),
        (b"d", 0o40750, 0o42770, 7, 8, NO_ID, 54321),
        (b"", 0o40700, 0o42770, 0, 0, NO_ID, 54321),
    ]


def test_outcome_of_the_version_before_is_read() -> None:
    found = unpack_outcome(OUTCOME)
    assert (found.outcomes, found.came) == (bytes([0, 0, 5, 0]), ((2, 0o40770, NO_ID, 54321),))
    assert (found.identity_kind, found.known.identity(3)) == (IdentityKind.BIRTH, 24)
