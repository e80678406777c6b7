"""Guest programs: perms, verify and undo through a mount. See `runtime` for what they are made of.

Each reports what it saw; what is right is for the tests to say.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.select import open_backend
from archipmigrate.engine.job import Lanes
from archipmigrate.engine.session import Session
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.perms.job import PermsJob
from archipmigrate.policy import GroupPolicy
from archipmigrate.share import open_share
from archipmigrate.testshare import Layout, make_share
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    KEEP_ATTRIBUTES,
    MOUNT,
    ROOT,
    STATE,
    calls,
    calls_so_far,
    delay,
    export,
    in_flight,
    mount,
    report,
    serve,
    start_server,
    stop_server,
    umount,
)
from tests.support import crafted_tree as crafted
from tests.support.doubles import Meddler, Watch
from tests.support.inprocess import Program
from tests.support.kill import undone
from tests.support.program import GID, attrs, drift

PERMS = ("perms", "--json", "--no-progress", "--group", GID)
VERIFY = ("verify", "--json", "--no-progress", "--group", GID)


def ended(*args: object, backend: str = "native") -> dict[str, Any]:
    """Run the program in this process; return its exit status, its summary and what it said."""
    done = Program(backend, STATE)(*args)
    return {
        "status": done.status,
        "summary": done.summary if done.out else {},
        "err": done.err,
    }


def share_on(where: Path, objects: int, layout: str = "filed") -> dict[str, int]:
    """Make a share on the server's side; return how many entries and directories it has."""
    size = make_share(
        str(where), objects=objects, volumes=10, layout=Layout(layout), object_bytes=0
    )
    return {"entries": size.files + size.directories, "directories": size.directories}


# -- what it costs


def counts(version: str, backend: str, layout: str, objects: int) -> None:
    """Count the calls of perms, a compliant pass and verify, each with a cold cache."""
    serve()
    report("size", share_on(EXPORT / "share", objects, layout))
    share = MOUNT / "share"
    for name, command in (("perms", PERMS), ("compliant", PERMS), ("verify", VERIFY)):
        mount(version, KEEP_ATTRIBUTES)
        with calls() as made:
            done = ended(*command, share, backend=backend)
        report(name, {**done, "calls": made})
        umount()
    report("drift", len(drift(EXPORT / "share")))


# -- what comes of it


def crafted_trees(version: str, options: str, backends: list[str]) -> None:
    """Take the crafted tree through perms, verify and undo on the mount, and compare."""
    serve()
    local = ROOT / "local"
    crafted.build(local)
    report("local", ended(*PERMS, local))
    expected = attrs(local)
    for backend in backends:
        crafted.build(EXPORT / backend)
        before = attrs(EXPORT / backend)
        mount(version, options)
        share = MOUNT / backend
        done = ended(*PERMS, share, backend=backend)
        after = attrs(EXPORT / backend)
        verified = ended(*VERIFY, share, backend=backend)
        back = ended("undo", "--json", "--no-progress", backend=backend)
        umount()
        report(
            backend,
            {
                "perms": done,
                "unlike": unlike(after, expected),
                "verify": verified,
                "undo": back,
                "not back": unlike(attrs(EXPORT / backend), undone(before)),
            },
        )


def unlike(found: dict[bytes, Any], expected: dict[bytes, Any]) -> dict[str, str]:
    """Return where two states of a tree differ."""
    paths = found.keys() | expected.keys()
    return {
        repr(path): f"{found.get(path)} not {expected.get(path)}"
        for path in paths
        if found.get(path) != expected.get(path)
    }


def refused(version: str) -> None:
    """Run where nothing can be changed, then where it can, then with a file linked in."""
    serve()
    share_on(EXPORT / "share", 1200)
    # Readable by all, or root_squash would show nothing at all.
    for path, (mode, _, _) in attrs(EXPORT / "share").items():
        os.chmod(
            os.fsencode(EXPORT / "share") + b"/" + path,
            mode & 0o7777 | 0o044 | (mode & 0o100) // 64 * 9,
        )
    before = attrs(EXPORT / "share")
    for name, options in (("root_squash", "rw,root_squash"), ("ro", "ro,no_root_squash")):
        export(options)
        mount(version)
        report(name, ended(*PERMS, MOUNT / "share"))
        umount()
    report("touched", unlike(attrs(EXPORT / "share"), before))
    export("rw,no_root_squash")
    secret = EXPORT / "secret"
    secret.write_text("not of the share")
    secret.chmod(0o600)
    os.link(secret, EXPORT / "share" / "blocks" / "innocent")
    mount(version)
    report("allowed", ended(*PERMS, "--hard-links", "skip", MOUNT / "share"))
    umount()
    found = secret.stat()
    report("secret", [found.st_mode & 0o7777, found.st_gid])
    report("drift", [os.fsdecode(path) for path in drift(EXPORT / "share")])


# -- what goes wrong meanwhile


def recreated(version: str, backend: str) -> None:
    """Let another client remove and recreate directories between the look and the change."""
    serve(filesystem="ext4")  # whose handles have generations, so that old ones are stale
    share_on(EXPORT / "share", 300)
    mount(version)
    wanted = attrs(EXPORT / "share").keys()

    def meddle(times: int) -> None:
        if times == 1:
            for top in sorted((EXPORT / "share" / "blocks").iterdir())[::7]:
                keep = ROOT / "keep"
                shutil.copytree(top, keep)
                shutil.rmtree(top)
                shutil.copytree(keep, top)
                shutil.rmtree(keep)

    place = open_share(str(MOUNT / "share"))
    meddler = Meddler(open_backend(backend, place, 4), meddle)
    watch = Watch()
    job = PermsJob(meddler, GroupPolicy(GID), ScanOptions(xattrs=False, retain=True))
    header = RunHeader("", "perms", "", "", "")
    with closing(Journal(None, new=True)) as journal:
        session = Session(job, journal, header, Lanes(4, 10.0), watch)
        result = trio.run(session.execute)
    tally = session.counters.tally
    report("result", [result.status, result.reason, [str(f) for f in watch.failures]])
    report("tally", tally.as_dict())
    report("drift", [os.fsdecode(path) for path in drift(EXPORT / "share")])
    report("lost", [repr(p) for p in wanted - attrs(EXPORT / "share").keys()])


@contextmanager
def running(*args: object) -> Iterator[subprocess.Popen[str]]:
    """Start the program, slow enough for something to happen meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-m", "archipmigrate", *map(str, args)],
        env={**os.environ, "ARCHIPMIGRATE_STATE": str(STATE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def wait_for_changes(number: int, at: Path = MOUNT) -> None:
    """Wait until the mount *at* has made *number* changes."""
    end = time.monotonic() + 60
    while calls_so_far(at)["SETATTR"] < number and time.monotonic() < end:
        time.sleep(0.05)


def wait_for_answer(path: Path) -> None:
    """Wait until a soft mount has found its server again."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with suppress(OSError):
            os.stat(path)
            return
        time.sleep(0.2)


def restarted(version: str, options: str, backend: str) -> None:
    """Take the server away for some seconds in the middle of a run, and bring it back."""
    serve()
    size = share_on(EXPORT / "share", 600)
    mount(version, options)
    slow = (*PERMS, "--max-ops", 1500, "--backend", backend, MOUNT / "share")
    with running(*slow) as process:
        wait_for_changes(size["entries"] // 2)
        stop_server()
        time.sleep(3)
        report("while away", process.poll())
        start_server()
        out, err = process.communicate()
    report("size", size)
    report("perms", {"status": process.returncode, "out": out.splitlines()[-1:], "err": err})
    report("drift", len(drift(EXPORT / "share")))


def killed(version: str, backend: str) -> None:
    """Kill a run, mount the share elsewhere, resume there, and put everything back from there."""
    serve()
    size = share_on(EXPORT / "share", 600)
    before = attrs(EXPORT / "share")
    mount(version)
    slow = (*PERMS, "--max-ops", 1500, "--backend", backend, MOUNT / "share")
    with running(*slow) as process:
        wait_for_changes(size["entries"] // 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    half = len(drift(EXPORT / "share"))
    umount()
    other = mount(version, at=ROOT / "elsewhere")
    resumed = ended("resume", "--json", "--no-progress", "--path", other / "share")
    report("half", half)
    report("size", size)
    report("resume", resumed)
    report("drift", len(drift(EXPORT / "share")))
    report("verify", ended(*VERIFY, other / "share"))
    report("undo", ended("undo", "--json", "--no-progress", "--path", other / "share"))
    report("not back", unlike(attrs(EXPORT / "share"), before))


def vanished(backend: str) -> None:
    """Take the server away for good, where the mount is soft: the run has to end by itself."""
    serve()
    size = share_on(EXPORT / "share", 600)
    mount("3", "soft,timeo=2,retrans=1")  # tenths of a second, then twice that
    slow = (*PERMS, "--max-ops", 1500, "--backend", backend, MOUNT / "share")
    with running(*slow) as process:
        wait_for_changes(size["entries"] // 2)
        stop_server()
        time.sleep(1)  # calls fail meanwhile
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    report("perms", {"status": process.returncode, "out": out.splitlines()[-1:], "err": err})
    report("not yet", ended("resume", "--json", "--no-progress"))
    start_server()
    wait_for_answer(MOUNT / "share")
    report("resume", ended("resume", "--json", "--no-progress"))
    report("size", size)
    report("drift", len(drift(EXPORT / "share")))


def attacked(version: str, enough: int, attacker: str) -> None:
    """Let a hostile writer on the server's side exchange entries for links while runs go on.

    They go on until they have changed *enough* entries in all.
    """
    from tests.perms.test_attack import Arena  # noqa: PLC0415 -- looks for pytest's marks

    serve()
    arena = Arena(EXPORT)
    mount(version, "noac")
    done = 0
    while done < enough:
        arena.reset()
        with arena.under_attack(attacker):
            done += ended(*PERMS, "--fresh", MOUNT / "share")["summary"]["changed"]
        report("victim", arena.state_of_victim() == arena.before)
        if arena.state_of_victim() != arena.before:
            break
    report("done", done)
    arena.close()


# -- how many lanes


def wide(version: str, files: int, lanes: int, round_trip: float) -> None:
    """Change one flat directory over a slow network; report how many calls were in flight."""
    serve()
    (EXPORT / "share").mkdir()
    for number in range(files):
        os.mknod(EXPORT / "share" / f"archip_{number:064x}", 0o600)
    mount(version)
    delay(1000 * round_trip / 2)
    with calls() as made, in_flight() as average:
        done = ended(*PERMS, "--jobs", lanes, MOUNT / "share")
    report("perms", done)
    report("calls", made)
    report("in flight", average)
    report("drift", len(drift(EXPORT / "share")))


def lanes(version: str, objects: int, round_trip: float) -> None:
    """Report the status line of `--jobs auto` ten seconds after its first change."""
    serve(size="600M")
    share_on(EXPORT / "share", objects)
    delay(1000 * round_trip / 2)
    mount(version)
    with running(*PERMS, "--backend", "native", MOUNT / "share") as process:
        wait_for_changes(1)
        time.sleep(10)
        process.send_signal(signal.SIGUSR1)
        assert process.stderr
        report("status", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        process.communicate()
