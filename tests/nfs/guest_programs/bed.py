"""The guest programs of test_bed."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from archipmigrate.testshare import make_share
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    KEEP_ATTRIBUTES,
    MOUNT,
    OUT,
    ROOT,
    STATE,
    archipmigrate,
    calls,
    delay,
    export,
    mount,
    report,
    run,
    serve,
    start_server,
    stop_server,
    umount,
)

OTHER = ROOT / "other"
GROUP = 54321
CHMODS = 10


def bed(checkout: str) -> None:
    """Report on all that a guest can do, a report each."""
    run("echo", "to stdout")
    run("sh", "-c", "echo to stderr >&2")
    (OUT / "stays").write_text("here", encoding="ascii")
    (Path(checkout) / "vanishes").touch()
    connection = sqlite3.connect(STATE / "journal")
    report("journal mode", connection.execute("PRAGMA journal_mode = wal").fetchone()[0])
    connection.close()
    serve(filesystem="ext4")
    for version in ("3", "4.2"):
        _version(version)
    export("ro")
    mount("3")
    report("ro", _error(lambda: os.chmod(MOUNT / "file", 0o600)))
    umount()
    export("rw,root_squash")
    mount("4.2")
    report("root_squash", _error(lambda: os.chmod(MOUNT / "file", 0o600)))
    umount()
    mount("3", "soft,timeo=1,retrans=1")
    stop_server()
    report("soft", _error(lambda: os.chmod(MOUNT, 0o700)))
    sys.exit(7)


def _version(version: str) -> None:
    file = EXPORT / "file"
    file.touch()
    mount(version, "noac,nordirplus")
    report(f"{version} options", _options(MOUNT))
    umount()

    mount(version)
    there = MOUNT / "file"
    os.chmod(there, 0o640)  # looks it up
    with calls() as made:
        os.chmod(there, 0o600)
    report(f"{version} chmod", made)

    with calls() as made:
        os.stat(there)
    report(f"{version} known", made)
    umount()
    mount(version)
    with calls() as made:
        os.stat(there)
    report(f"{version} cold", made)

    for name, milliseconds in (("without", 0), ("with", 10)):
        delay(milliseconds)
        report(f"{version} {name} delay", min(_seconds_of_a_chmod(there) for _ in range(CHMODS)))
    delay(0)

    stop_server()
    start_server()
    os.chmod(there, 0o604)
    report(f"{version} mode after restart", file.stat().st_mode & 0o777)

    mount(version, "nosharecache,noac", at=OTHER)
    (EXPORT / "directory").mkdir()
    held = os.open(MOUNT / "directory", os.O_RDONLY)
    (OTHER / "directory").rmdir()
    (OTHER / "directory").mkdir()
    # Past the few seconds for which the first mount may believe what it knows.
    umount(OTHER)
    report(f"{version} gone", _error(lambda: os.listdir(held), within=10))
    os.close(held)
    (EXPORT / "directory").rmdir()
    umount()


def _seconds_of_a_chmod(path: Path) -> float:
    start = time.monotonic()
    os.chmod(path, 0o600)
    return time.monotonic() - start


def hangs() -> None:
    """Never end."""
    (OUT / "started").touch()
    while True:
        time.sleep(1)


def panics() -> None:
    """Take the kernel down."""
    run("echo", "last words")
    Path("/proc/sysrq-trigger").write_text("c", encoding="ascii")


def raises() -> None:
    """End with an exception."""
    raise RuntimeError("on purpose")


def computes() -> None:
    """Use the extended registers in processes that take turns; report what they computed."""
    program = "print(sum(float(number) for number in range(10**6)))"
    command = [sys.executable, "-c", program]
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    report("sums", [float(process.communicate()[0]) for process in together])


def perms(objects: int) -> None:
    """Give a sample share to a group over either version, and verify it; report ends and calls."""
    os.environ["ARCHIPMIGRATE_BACKEND"] = "native"
    serve()
    for version in ("3", "4.2"):
        make_share(str(EXPORT / version), objects=objects, volumes=3)
        for command in ("perms", "verify"):
            mount(version, KEEP_ATTRIBUTES)
            with calls() as counted:
                done = archipmigrate(command, "--json", "--group", GROUP, MOUNT / version)
            umount()
            report(f"{version} {command}", [done.returncode, done.stdout, done.stderr])
            report(f"{version} {command} calls", counted)


def _options(at: Path) -> str:
    """Return what the kernel says a mount's options are."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return next(line.split()[3] for line in lines if line.split()[1] == str(at))


def _error(act: Callable[[], object], within: float = 0) -> str:
    """Try *act* for *within* seconds; return the name of its last error, or nothing."""
    end = time.monotonic() + within
    while True:
        try:
            act()
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        if time.monotonic() >= end:
            return ""
        time.sleep(0.2)
