"""A pre-image is on disk before its change: power cuts, slow syncs, full disks, damage."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from archipmigrate.cli.main import main
from archipmigrate.engine import commit
from archipmigrate.journal import checksummed, location
from archipmigrate.journal.store import Journal
from archipmigrate.model import Tally, Unit
from archipmigrate.packed.changes import read_changes
from tests.support import compiled
from tests.support.inprocess import Program
from tests.support.kill import copied, count_off, migrated, undone
from tests.support.program import GID, Attrs, Cli, Ended, attrs, need
from tests.support.situations import made

MIB = 1 << 20
# What strace says of a call: its start, its end, or both in one line.
LINE = re.compile(
    r"^(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?P<again> resumed>)?(?P<args>.*?)"
    r"(?P<begun> <unfinished \.\.\.>)?(?: += (?P<result>-?\d+|\?).*)?$"
)
LOG = ".journal-wal>"  # not that of a journal that is being made
CHANGES = ("fchownat", "fchown", "chown")


def fill(share: Path, files: int) -> dict[bytes, Attrs]:
    """Put files in a share, and set-id files among them; return its attrs."""
    rng = random.Random(files)
    for number in range(files):
        path = share / f"{rng.randrange(10**60):064d}"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        if number % 50 == 0:
            path.chmod(0o4755)
    return attrs(share)


def covered(state: Path) -> set[bytes]:
    """Return the paths of which the latest journal holds a pre-image."""
    with copied(state) as journal:
        blobs = [blob for (blob,) in journal.execute("SELECT preimage FROM batch")]
    return {change.path for blob in blobs for change in read_changes(checksummed.unpack(blob))}


def touched(before: dict[bytes, Attrs], share: Path) -> set[bytes]:
    """Return the entries that are not as they were."""
    now = attrs(share)
    return {path for path in before if now[path] != before[path]}


def check_resumed_and_undone(cli: Cli, share: Path, before: dict[bytes, Attrs]) -> None:
    """Finish a run that was cut off, and take it back."""
    ended = cli.perms(share)
    assert (ended.status, ended.summary["resumed"]) == (0, True), ended.err
    assert ended.summary["changed"] == ended.summary["entries"] == len(before)
    assert attrs(share) == migrated(before)
    assert cli("undo").status == 3  # of some files set-id bits stay off
    assert attrs(share) == undone(before)


# -- power cuts


@dataclass
class Traced:
    """A run, told by its system calls: how many bytes of the log were on disk for certain.

    `at_changes` says it for the moments when each entry was about to be changed.
    """

    at_changes: list[int]
    at_end: int


def read_trace(trace: Path) -> Traced:
    """Follow writes to the write-ahead log, syncs of it, and changes."""
    written = certain = 0
    syncing: dict[str, int] = {}
    at_changes = []
    for line in trace.read_text(errors="replace").splitlines():
        call = LINE.match(line)
        if call is None:
            continue
        pid, name, args = call["pid"], call["name"], call["args"]
        if name == "pwrite64" and LOG in args:
            size, offset = args.rstrip(")").split(",")[-2:]
            written = max(written, int(size) + int(offset))
        elif name in ("fdatasync", "fsync") and not call["again"] and LOG in args:
            syncing[pid] = written
        elif name in CHANGES and not call["again"] and ".journal" not in args:  # SQLite's own
            at_changes.append(certain)
        if name in ("fdatasync", "fsync") and call["result"] == "0" and pid in syncing:
            certain = max(certain, syncing.pop(pid))
    return Traced(at_changes, certain)


@dataclass
class Cut:
    """A run that was killed, and whose journal can be put back to what was certainly on disk."""

    cli: Cli
    share: Path
    traced: Traced

    def image(self, size: int, state: Path) -> Cli:
        """Return the program with a copy of the state as a power cut would have left it."""
        shutil.copytree(self.cli.state, state, ignore=shutil.ignore_patterns("*-shm"))
        state.chmod(0o700)
        (log,) = state.glob("*-wal")
        with log.open("r+b") as file:
            assert os.fstat(file.fileno()).st_size >= size
            file.truncate(size)
        return replace(self.cli, state=state, prefix=(), env={})


@pytest.fixture
def cut(cli: Cli, share: Path, tmp_path: Path) -> Callable[[int], Cut]:
    """Kill runs at their n-th changing call, watched by strace."""
    library = compiled.library("kill_at")

    def run(call: int, *args: object) -> Cut:
        trace = tmp_path / "trace"
        calls = "trace=pwrite64,fdatasync,fsync,chown,fchown,fchownat"
        strace = (need("strace"), "-f", "-y", "-s", "0", "-o", str(trace), "-e", calls)
        preload = ("-E", f"LD_PRELOAD={library}", "-E", f"KILL_AT={call}")
        watched = replace(cli, prefix=(*strace, *preload))
        ended = watched.perms(share, *args)
        assert ended.status in (-9, 137), ended.err
        return Cut(watched, share, read_trace(trace))

    return run


@pytest.mark.privileged
@pytest.mark.slow
def test_every_change_comes_after_the_sync_of_its_preimage(
    cut: Callable[..., Cut], share: Path, tmp_path: Path
) -> None:
    before = fill(share, 2500)
    ended = cut(2 * len(before), "--jobs", 1)
    synced = ended.traced.at_changes
    assert len(synced) >= len(before)
    preimages = {
        size: len(covered(ended.image(size, tmp_path / f"image{size}").state))
        for size in set(synced)
    }
    assert len(preimages) >= 3  # batches
    for number, size in enumerate(synced):
        assert number < preimages[size], f"change {number} at {size} bytes on disk"


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 700, 3001])
def test_run_whose_power_was_cut_is_undone_or_resumed(
    cut: Callable[..., Cut], share: Path, tmp_path: Path, call: int
) -> None:
    before = fill(share, 2000)
    end = cut(call, "--jobs", 1)
    changed = touched(before, share)
    image = end.image(end.traced.at_end, tmp_path / "image")
    assert changed <= covered(image.state)
    assert bool(changed) == (call > 1)
    if call % 2 == 0:
        ended = image("undo", "--json")
        off = {path: then for path, then in before.items() if path in changed}
        assert (ended.status, ended.summary["skipped"]) == (3, count_off(off, share))
        assert attrs(share) == before | undone(off)
    else:
        check_resumed_and_undone(image, share, before)


@pytest.mark.privileged
@pytest.mark.slow
def test_run_is_resumed_and_undone_where_every_sync_takes_10_ms(
    cli: Cli, share: Path, tmp_path: Path
) -> None:
    before = fill(share, 1500)
    delay = (need("strace"), "-f", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
             "-e", "inject=fdatasync,fsync:delay_exit=10000")  # fmt: skip
    library = compiled.library("kill_at")
    slow = replace(cli, prefix=delay)
    killed = replace(slow, prefix=(*delay, "-E", f"LD_PRELOAD={library}", "-E", "KILL_AT=1500"))
    assert killed.perms(share, "--jobs", 1).status in (-9, 137)
    assert touched(before, share)
    check_resumed_and_undone(slow, share, before)


# -- disks that are full, or fail


@pytest.fixture
def disk(mount: Callable[..., Path], tmp_path: Path) -> Callable[[int], Path]:
    """Mount a state disk of *kib* KiB."""
    return lambda kib: mount(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "no")


def check_stopped(ended: Ended, before: dict[bytes, Attrs], share: Path, state: Path) -> None:
    """See that a run ended well when its journal could not be written."""
    assert ended.status == 1, ended.out + ended.err
    assert "Traceback" not in ended.err
    assert ended.summary["status"] == "stopped"
    changed = touched(before, share)
    assert len(changed) < len(before)
    assert changed <= covered(state)


@pytest.mark.privileged
def test_run_is_refused_where_the_state_disk_is_full(
    cli: Cli, share: Path, disk: Callable[[int], Path]
) -> None:
    state = disk(20 << 10)
    before = fill(share, 100)
    ballast = state / "ballast"
    ballast.write_bytes(bytes(5 * MIB))
    full = replace(cli, state=state)
    ended = full("perms", "--group", GID, share)
    assert ended.status == 1
    assert ended.err.count("\n") == 1
    assert "less than 16 MiB left" in ended.err
    assert attrs(share) == before
    ballast.unlink()
    ended = full.perms(share)
    assert (ended.status, ended.summary["resumed"]) == (0, False)
    ballast.write_bytes(bytes(5 * MIB))
    ended = full("undo")
    assert ended.status == 1
    assert "16 MiB" in ended.err + ended.out
    assert "Traceback" not in ended.err
    assert attrs(share) == migrated(before)
    ballast.unlink()
    assert full("undo").status == 3  # of some files set-id bits stay off
    assert attrs(share) == undone(before)


@pytest.mark.privileged
@pytest.mark.slow
def test_run_stops_when_the_state_disk_gets_full_and_is_resumed_with_more_room(
    cli: Cli, share: Path, disk: Callable[[int], Path]
) -> None:
    state = disk(40 << 10)
    before = fill(share, 5000)
    ballast = state / "ballast"
    ballast.write_bytes(bytes(24 * MIB - (600 << 10)))
    full = replace(cli, state=state)
    ended = full.perms(share)
    check_stopped(ended, before, share, state)
    assert touched(before, share)
    assert full("perms", "--group", GID, share).status == 1  # still full
    ballast.unlink()
    check_resumed_and_undone(full, share, before)


@pytest.mark.privileged
@pytest.mark.slow
def test_run_stops_when_the_state_disk_is_full_to_the_last_byte(
    cli: Cli,
    share: Path,
    disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state = disk(40 << 10)
    before = fill(share, 5000)
    (state / "ballast").write_bytes(bytes(40 * MIB - (700 << 10)))
    monkeypatch.setattr(commit, "SPARE_BYTES", 0)
    monkeypatch.setattr("archipmigrate.session.open.SPARE_BYTES", 0)
    words = ["--json", "--group", str(GID), "--backend", cli.backend, "--state", str(state)]
    status = main(["perms", *words, str(share)])
    ended = Ended(status, *capsys.readouterr())
    check_stopped(ended, before, share, state)
    assert touched(before, share)
    assert location.spare_bytes(state) < 64 << 10
    monkeypatch.undo()
    (state / "ballast").unlink()
    check_resumed_and_undone(replace(cli, state=state), share, before)


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize(("call", "error"), [("pwrite64", "ENOSPC"), ("fdatasync", "EIO")])
def test_run_ends_before_it_begins_when_its_journal_cannot_be_made(
    cli: Cli, share: Path, call: str, error: str
) -> None:
    before = fill(share, 100)
    ended = failing(cli, call, error, 3).perms(share)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert attrs(share) == before
    assert cli.perms(share).status == 0
    assert attrs(share) == migrated(before)


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error", "when"), [("pwrite64", "ENOSPC", 80), ("fdatasync", "EIO", 20)]
)
def test_run_stops_when_its_journal_cannot_be_written(
    cli: Cli, share: Path, state: Path, call: str, error: str, when: int
) -> None:
    """The calls of each thread are counted: *when* is past those that make the journal."""
    before = fill(share, 3000)
    slow = ("--jobs", 1, "--max-ops", 750)  # small units, so that there are many batches
    ended = failing(cli, call, error, when).perms(share, *slow)
    check_stopped(ended, before, share, state)
    check_resumed_and_undone(cli, share, before)


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native"], indirect=True)
@pytest.mark.parametrize("when", [3, 5, 8, 12, 16, 20])
def test_run_that_is_killed_while_its_journal_is_made_leaves_a_run_or_none(
    cli: Cli, program: Program, share: Path, state: Path, when: int
) -> None:
    for number in range(100):
        (share / f"{number}").touch(mode=0o600)
    before = attrs(share)
    inject = f"inject=pwrite64:signal=KILL:when={when}"
    prefix = (need("strace"), "-f", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", inject)
    assert replace(cli, prefix=prefix).perms(share).status != 0
    made(list(state.iterdir()), "a journal that was begun")
    made(attrs(share) == before, "a kill before the first change")
    for ended in (program("status"), program.perms(share), program("undo")):
        assert ended.status == 0, ended.err
        assert "journal" not in ended.err, ended.err
    assert attrs(share) == before


def test_what_is_left_of_a_journal_that_was_never_made_goes_some_day(
    program: Program, share: Path, state: Path
) -> None:
    for name, age in (("old", 100_000), ("recent", 0)):
        path = state / f"perms-{name}.journal-new"
        path.touch()
        os.utime(path, (time.time() - age, time.time() - age))
    assert program.perms(share).status == 0
    assert [path.name for path in state.glob("*-new*")] == ["perms-recent.journal-new"]


def failing(cli: Cli, call: str, error: str, when: int) -> Cli:
    """Return the program with a call that fails from the nth on, in every thread."""
    inject = f"inject={call}:error={error}:when={when}+"
    prefix = (need("strace"), "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
    return replace(cli, prefix=prefix)


# -- damage


def damage(state: Path, batch: str = "(SELECT max(id) FROM batch)") -> None:
    """Flip a bit in the middle of a pre-image."""
    (path,) = state.glob("perms-*.journal")
    journal = sqlite3.connect(path)
    number, blob = journal.execute(f"SELECT id, preimage FROM batch WHERE id = {batch}").fetchone()
    middle = len(blob) // 2
    flipped = blob[:middle] + bytes((blob[middle] ^ 1,)) + blob[middle + 1 :]
    journal.execute("UPDATE batch SET preimage = ? WHERE id = ?", (flipped, number))
    journal.commit()
    journal.close()


@pytest.mark.privileged
@pytest.mark.parametrize("batch", ["min", "max"])
def test_undo_is_refused_where_a_preimage_is_damaged(
    cli: Cli, share: Path, state: Path, batch: str
) -> None:
    before = fill(share, 1500)
    assert cli.perms(share).status == 0
    damage(state, f"(SELECT {batch}(id) FROM batch)")
    ended = cli("undo", "--json")
    assert ended.status == 1
    assert "damaged" in ended.err
    assert ended.err.count("\n") == 1
    assert attrs(share) == migrated(before)


@pytest.mark.privileged
def test_killed_run_with_a_damaged_preimage_is_not_continued(
    cli: Cli, share: Path, state: Path, tmp_path: Path
) -> None:
    before = fill(share, 1500)
    killer = {"LD_PRELOAD": str(compiled.library("kill_at")), "KILL_AT": "400"}
    assert replace(cli, env=killer).perms(share, "--jobs", 1).status == -9
    damage(state)
    half_way = touched(before, share)
    for command in (["perms", "--group", GID, share], ["undo"]):
        ended = cli(*command)
        assert ended.status == 1
        assert "damaged" in ended.out + ended.err
        assert "Traceback" not in ended.err
        assert touched(before, share) == half_way


@pytest.mark.privileged
def test_undo_is_refused_where_the_journal_lost_pages(cli: Cli, share: Path, state: Path) -> None:
    before = fill(share, 3000)
    assert cli.perms(share).status == 0
    (path,) = state.glob("perms-*.journal")
    page = 4096
    journal = sqlite3.connect(path)
    (root,) = journal.execute("SELECT rootpage FROM sqlite_master WHERE name = 'batch'").fetchone()
    journal.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(bytes(page))
    ended = cli("undo", "--json")
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "cannot be read" in ended.err
    assert attrs(share) == migrated(before)


# -- the journal by itself


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "run.journal", new=True)
    yield journal
    journal.close()


def test_directory_that_is_to_be_read_again_gets_no_number_that_may_be_given_out(
    journal: Journal,
) -> None:
    """A frontier counts on from the last number that it saw when the journal was opened."""
    for scope in (3, 4, 5):
        names = Unit(b"names", scope=scope)
        journal.commit([partial(Journal.open_scope, scope=scope, body=b"%d" % scope)])
        journal.commit([partial(Journal.put_unit, number=10 + scope, unit=names)])
    last = journal.last_number()
    journal.commit([Journal.reopen_scopes])
    assert [(number, unit.body) for number, unit in journal.units()] == [
        (3, b"3"),
        (4, b"4"),
        (5, b"5"),
    ]
    assert all(number <= last for number, _ in journal.units())


def test_what_is_not_committed_is_not_there_after_a_failure(journal: Journal) -> None:
    def fail(journal: Journal) -> None:
        journal.put_unit(2, Unit(b"second"))
        journal._db.execute("no SQL")

    journal.commit([lambda j: j.put_unit(1, Unit(b"first")), lambda j: j.add_tally(0, Tally(2))])
    with pytest.raises(Exception, match="cannot be written"):
        journal.commit([fail])
    assert [number for number, _ in journal.units()] == [1]
