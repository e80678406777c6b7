"""Guest programs: direct NFS to the server of a mounted share, bypassing the mount.

See `runtime` for what they are made of.

Each reports what it saw; what is right is for the tests to say.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from archipmigrate import _nfs
from tests.nfs.guest_programs.mount import PERMS, VERIFY, ended, running, share_on, unlike
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    NFSD,
    ROOT,
    STATE,
    calls,
    mount,
    report,
    run,
    serve,
    start_server,
    stop_server,
    umount,
)
from tests.support import crafted_tree as crafted
from tests.support.inprocess import Program
from tests.support.kill import undone
from tests.support.program import attrs, drift

UNDO = ("undo", "--json", "--no-progress")
NOBODY = 65534


def auto(*args: object) -> dict[str, Any]:
    """Run the program in this process with the backend that it chooses."""
    return ended(*args, backend="auto")


def looked_at(where: Path) -> None:
    """Have the kernel's client know all entries, and keep their attributes."""
    for directory, _, files in os.walk(where):
        for name in files:
            os.lstat(os.path.join(directory, name))


def crafted_trees(version: str) -> None:
    """Take the crafted tree through perms, verify and undo past the mount, and compare."""
    serve(filesystem="ext4")
    local = ROOT / "local"
    crafted.build(local)
    report("local", ended(*PERMS, local))
    tree = EXPORT / "tree"
    crafted.build(tree)
    before = attrs(tree)
    share = mount(version) / "tree"
    report("by the mount", ended(*VERIFY, share))
    report("by the mount, words", text("verify", "--group", PERMS[-1], share, backend="native"))
    with calls() as made:
        report("dry run", auto(*PERMS, "--dry-run", share))
        report("untouched", attrs(tree) == before)
        report("perms", auto(*PERMS, share))
        report("unlike", unlike(attrs(tree), attrs(local)))
        report("verify", auto(*VERIFY, share))
        report("words", text("verify", "--group", PERMS[-1], share, backend="auto"))
        report("undo", auto(*UNDO))
    report("not back", unlike(attrs(tree), undone(before)))
    report("SETATTR", made["SETATTR"])


def text(*args: object, backend: str) -> str:
    """Return the first line of what a command prints for people."""
    return Program(backend, STATE)(*args).out.splitlines()[0]


def refusals() -> None:
    """Look where the mount must not be passed."""
    serve()
    share_on(EXPORT / "share", 20)
    share = mount("4.2") / "share"
    os.seteuid(NOBODY)
    seen = auto(*VERIFY, share)
    os.seteuid(0)
    report("not root", seen)
    below = share / "blocks"
    run("mount", "--bind", share / "maps", below)
    report("below", auto(*VERIFY, share))
    report("beside", auto(*VERIFY, share / "maps"))
    umount(below)
    run("mount", "-o", "remount,bind,ro", mount("3", at=ROOT / "read-only"))
    report("read-only", auto(*VERIFY, ROOT / "read-only" / "share"))
    report("demanded", ended(*VERIFY, ROOT / "read-only" / "share", backend="nfs"))
    report("demanded elsewhere", ended(*VERIFY, share, backend="nfs"))
    report("forced", {name: ended(*VERIFY, share, backend=name) for name in ("native", "python")})


def bound() -> None:
    """Change a part of the export that is mounted elsewhere by itself."""
    serve()
    share_on(EXPORT / "share", 20)
    at = ROOT / "bound"
    at.mkdir()
    run("mount", "--bind", mount("4.2") / "share" / "maps", at)
    report("rest before", len(drift(EXPORT / "share")))
    report("perms", auto(*PERMS, at))
    report("drift", len(drift(EXPORT / "share" / "maps")))
    report("rest", len(drift(EXPORT / "share")))


def without_handles() -> Any:
    """Return a context in which the kernel does not tell handles."""
    mounted = _nfs.mounted
    return mock.patch("archipmigrate._nfs.mounted", lambda fd: (mounted(fd)[0], b""))


def kill(name: str) -> None:
    """End a daemon of the guest's, and wait for that."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended by itself
            if (place / "comm").read_text().strip() == name:
                os.kill(int(place.name), signal.SIGKILL)
                wait_for(partial(_is_gone, place))


def _is_gone(place: Path) -> bool:
    try:
        return " Z " in (place / "stat").read_text()
    except OSError:
        return True


def versions_3_and_4() -> None:
    """Find the root of a v3 mount by the path of version 4, by its handle, by mountd."""
    serve(filesystem="ext4")
    (EXPORT / "share").mkdir()
    # What the root of version 4 has under the path of version 3: nothing, then the same directory,
    # by a mount, then another.
    share = mount("3") / "share"
    report("no such path", auto(*VERIFY, share))
    pseudo = ROOT / "pseudo"
    there = pseudo / EXPORT.relative_to("/")
    there.mkdir(parents=True)
    run("mount", "--bind", EXPORT, there)
    _export({pseudo: "fsid=0,crossmnt", there: "fsid=8", EXPORT: "fsid=7"})
    umount()
    mount("3")
    report("same path", auto(*VERIFY, share))
    _export({pseudo: "fsid=0", EXPORT: "fsid=7"})
    run("umount", "--lazy", there)
    (there / "share").mkdir()
    report("other path", auto(*VERIFY, share))
    kill("rpcbind")
    with without_handles():
        report("without port mapper", auto(*VERIFY, share))
    kill("rpc.mountd")
    # Its kernel asks mountd for what it has not seen yet: it has seen all this.
    report("by handle", auto(*VERIFY, share))
    with without_handles():
        report("nothing left", auto(*VERIFY, share))


def _export(places: dict[Path, str]) -> None:
    lines = [
        f"{place} 127.0.0.1(rw,no_root_squash,async,insecure,no_subtree_check,sec=sys,{options})\n"
        for place, options in places.items()
    ]
    Path("/etc/exports").write_text("".join(lines), encoding="ascii")
    run("exportfs", "-r")
    run("exportfs", "-f")


def without_version_4() -> None:
    """Have a server of version 3 only, whose mountd and port mapper are gone after the mount."""
    serve()
    share_on(EXPORT / "share", 20)
    stop_server()
    (NFSD / "versions").write_text("-4\n", encoding="ascii")
    start_server()
    share = mount("3") / "share"
    os.stat(share)
    kill("rpcbind")
    kill("rpc.mountd")
    report("perms", auto(*PERMS, share))
    report("drift", len(drift(EXPORT / "share")))
    report("undo", auto(*UNDO))


def both_ways(version: str) -> None:
    """Kill a run through the mount and resume it past it; then the other way round; undo both."""
    serve()
    size = share_on(EXPORT / "share", 300)
    report("size", size)
    before = attrs(EXPORT / "share")
    share = mount(version, "acregmin=1,acregmax=1,acdirmin=1,acdirmax=1") / "share"
    for first, second in (("native", "auto"), ("auto", "native")):
        looked_at(share)
        slow = (*PERMS, "--max-ops", 1000, "--backend", first, share)
        with running(*slow) as process:
            wait_for(lambda: len(drift(EXPORT / "share")) < 0.7 * size["entries"])
            process.send_signal(signal.SIGKILL)
            process.wait()
        half = len(drift(EXPORT / "share"))
        resumed = ended("resume", "--json", "--no-progress", backend=second)
        left = len(drift(EXPORT / "share"))
        undone = ended(*UNDO, backend=first)
        not_back = unlike(attrs(EXPORT / "share"), before)
        report(
            second,
            {
                "half": half,
                "resume": resumed,
                "drift": left,
                "undo": undone,
                "not back": not_back,
            },
        )


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened, a minute at most."""
    end = time.monotonic() + 60
    while not happened():
        if time.monotonic() > end:
            sys.exit("it did not happen")
        time.sleep(0.2)  # the guest has one CPU
