"""Runs programs in a guest: a Linux with an NFS server and an NFS client, without a machine.

Owns the guest's life: nothing of it is left when run_guest returns, however it ends; and when this
process is killed the guest dies too. See `inside` for what programs are made of.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
INIT = Path(__file__).with_name("init.sh")
SHOWN = 4000  # characters of the end of what a dead guest said
# Process 1 of a PID namespace: all in it die with it. (The processes of a User-Mode Linux that is
# killed go on otherwise, and some of them spin.) It ends with its guest, or when its standard input
# does: we close that, or die. Background jobs read /dev/null, hence the 3.
WARDEN = """
exec 3<&0 </dev/null
linux.uml "$@" 3<&- &
guest=$!
{ read -r _ <&3; kill -KILL $guest; } &
wait $guest
"""
SHARED_MEMORY = "/dev/shm"
ROOM = 1 << 30  # bytes: with less room there, as in many containers, a guest dies of SIGBUS

# One CPU: the kernel and what it traces take turns, up to 3 times faster where neither has to
# wake another CPU. Workers of pytest-xdist (gw0, gw1, ...) take one each, the last ones first.
CPUS = sorted(os.sched_getaffinity(0), reverse=True)
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
CPU = str(CPUS[WORKER % len(CPUS)])
ALONE = ("taskset", "--cpu-list", CPU, "unshare", "--pid", "--fork")


class GuestDied(Exception):
    """The guest ended without its program's exit status, or had to be killed."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended. `reports` are what it reported, by name; of equal names, the last."""

    status: int
    out: str
    err: str
    reports: dict[str, Any]


def run_guest(
    program: Callable[..., None],
    out: Path,
    *arguments: object,
    timeout: float = 90,
    memory: str = "1G",
) -> Result:
    """Boot a guest, run *program* in it with *arguments* (JSON values), and wait for its end.

    *program* is a function at the top of a module that can be imported by its name. It sees this
    machine's files; what it changes is gone afterwards, except below *out*. An exception in it is
    status 1 and a traceback in `err`.

    Raises GuestDied if the guest panics, or is not done after *timeout* seconds and was killed.
    """
    with tempfile.TemporaryDirectory(prefix="archipmigrate-guest-") as name:
        bed = Path(name)
        _prepare(bed, program, out, arguments)
        console = bed / "console"
        with console.open("wb") as said:
            guest = subprocess.Popen(
                [*ALONE, "sh", "-c", WARDEN, "warden", *_kernel(bed, memory)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=_environment(),
                start_new_session=True,
            )
            late = False
            try:
                guest.wait(timeout)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                assert guest.stdin
                guest.stdin.close()
                guest.wait()
        status = _read(bed / "status")
        if late or not status:
            reason = f"not done after {timeout} s" if late else "no exit status"
            parts = {name: _read(bed / name)[-SHOWN:] for name in ("console", "stdout", "stderr")}
            shown = "".join(f"\n--- {name}\n{text}" for name, text in parts.items() if text)
            raise GuestDied(f"{program.__qualname__}: {reason}{shown}")
        reports: dict[str, Any] = {}
        for line in _read(bed / "reports").splitlines():
            reports.update(json.loads(line))
        return Result(int(status), _read(bed / "stdout"), _read(bed / "stderr"), reports)


def _prepare(
    bed: Path, program: Callable[..., None], out: Path, arguments: tuple[object, ...]
) -> None:
    """Write what init.sh and `inside` read."""
    (bed / "init").write_bytes(INIT.read_bytes())
    (bed / "init").chmod(0o755)
    values = {"out": out.resolve(), "checkout": CHECKOUT, "python": sys.executable}
    job = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    (bed / "job").write_text(job, encoding="utf-8")
    names = {"module": program.__module__, "function": program.__qualname__}
    (bed / "program").write_text(json.dumps({**names, "arguments": arguments}), encoding="ascii")


def _environment() -> dict[str, str]:
    """Return the environment of the guest's processes. TMPDIR is where its memory lies."""
    try:
        room = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        room = 0
    memory = SHARED_MEMORY if room >= ROOM else tempfile.gettempdir()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "TMPDIR": memory}


def _kernel(bed: Path, memory: str) -> list[str]:
    """Return the kernel's command line."""
    root = ["root=none", "rootfstype=hostfs", "rootflags=/", "ro", f"init={bed}/init", f"bed={bed}"]
    consoles = ["con=null", "con0=null,fd:1", "con1=null", "ssl=null", "quiet", "loglevel=3"]
    return [f"mem={memory}", f"uml_dir={bed}", *root, *consoles]


def _read(path: Path) -> str:
    """Return a file's text, nothing if it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except FileNotFoundError:
        return ""
