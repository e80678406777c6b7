"""Run programs in a guest: a Linux with an NFS server and an NFS client, in User-Mode Linux.

Owns the guest's life: nothing of it is left when run_guest returns, however it ends; and when this
process is killed the guest dies too. See `runtime` for what programs are made of.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import compiled

CHECKOUT = Path(__file__).parents[2]
INIT = Path(__file__).with_name("init.sh")
KERNEL = "linux.uml"
SHOWN = 4000  # characters: the end of the output of a guest that died
CONSOLE = 20  # lines of the console of a guest that did not boot, but for the kernel's stack
STACK = re.compile(r"\s*(\[<|R[A-Z0-9]{2}: |EIP: |Stack:|Call Trace:|[0-9a-f]{8} )")
# The warden is process 1 of a PID namespace: when it ends, all processes in there are killed.
# (Those of a User-Mode Linux that is killed go on otherwise, and some of them spin.) It ends with
# its guest, or when its standard input is closed: by us, or because we died. Background jobs read
# /dev/null, hence descriptor 3. PRELOAD is for the kernel alone.
WARDEN = """
exec 3<&0 </dev/null
env ${PRELOAD:+LD_PRELOAD="$PRELOAD"} "$@" 3<&- &
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
ISOLATED = ("taskset", "--cpu-list", CPU, "unshare", "--pid", "--fork")

# What to do about a guest that does not boot: the first of these that its console matches.
ADVICE = {
    r"Attempted to kill init! exitcode=0x0000000b": """\
Most likely the guest's kernel cannot restore the registers of this host's CPU. Set
ARCHIPMIGRATE_XSTATE=1 to have tests/preload/xstate.c do it; with AMX this is the default.""",
    r"Bus error|[Oo]ut of memory": "Make room in /dev/shm or TMPDIR: the guest's memory is there.",
    r"ptrace": """\
Allow ptrace: a container needs --cap-add SYS_PTRACE, and no seccomp filter against it.""",
    r"": """\
Compare with tests/nfs/init.sh. Reinstall its packages:
    apt-get install --reinstall user-mode-linux busybox-static kmod
To run all other tests: make test PYTEST_ARGS='--ignore tests/nfs'""",
}


class GuestDied(Exception):
    """The guest ended without its program's exit status, or had to be killed."""


class BootFailed(GuestDied):
    """The guest died, or had to be killed, before its program began."""


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

    Raises BootFailed if the guest ends before *program* begins, and GuestDied if it panics later,
    or is not done after *timeout* seconds and was killed.
    """
    with tempfile.TemporaryDirectory(prefix="archipmigrate-guest-") as name:
        bed = Path(name)
        _prepare(bed, program, out, arguments)
        with (bed / "console").open("ab") as log:  # init.sh writes to it, too
            guest = subprocess.Popen(
                [*ISOLATED, "sh", "-c", WARDEN, "warden", KERNEL, *_parameters(bed, memory)],
                stdin=subprocess.PIPE,
                stdout=log,
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
        began, status = (bed / "stdout").exists(), _read(bed / "status")
        end = f"not done after {timeout} s" if late else f"exit status {guest.returncode}"
        if not began:
            raise BootFailed(_boot_failure(program, end, bed))
        if late or not status:
            parts = {name: _read(bed / name)[-SHOWN:] for name in ("console", "stdout", "stderr")}
            shown = "".join(f"\n--- {name}\n{text}" for name, text in parts.items() if text)
            raise GuestDied(f"{program.__qualname__}: {end if late else 'no exit status'}{shown}")
        reports: dict[str, Any] = {}
        for line in _read(bed / "reports").splitlines():
            reports.update(json.loads(line))
        return Result(int(status), _read(bed / "stdout"), _read(bed / "stderr"), reports)


def _boot_failure(program: Callable[..., None], end: str, bed: Path) -> str:
    """Return what died, the last lines of its console, and what to do."""
    console, status = _read(bed / "console"), _read(bed / "status").strip()
    panic = re.search(r"Kernel panic - (.*)", console)
    if panic:
        cause = panic[0]
    elif status:
        cause = f"{sys.executable} ended with status {status} in the guest"
    else:
        cause = f"{KERNEL} ended without a panic"
    # Without the kernel's own stack and registers, which tell nothing here.
    lines = [line for line in console.splitlines() if line.strip() and not STACK.match(line)]
    shown = "\n".join(lines[-CONSOLE:]) or "(nothing)"
    advice = next(text for pattern, text in ADVICE.items() if re.search(pattern, console))
    return (
        f"the guest died at boot, before {program.__qualname__} began: {cause} ({end})\n"
        f"--- last lines of its console\n{shown}\n--- what to do\n{advice}"
    )


@cache
def _preload() -> str:
    """Return the library that the guest's kernel needs on this host, or nothing.

    ARCHIPMIGRATE_XSTATE=1 demands it, 0 forbids it.
    """
    demanded = os.environ.get("ARCHIPMIGRATE_XSTATE", "")
    amx = re.search(r"\bamx_tile\b", _read(Path("/proc/cpuinfo")))
    needed = demanded != "0" if demanded else amx
    return str(compiled.library("xstate")) if needed else ""


def _prepare(
    bed: Path, program: Callable[..., None], out: Path, arguments: tuple[object, ...]
) -> None:
    """Write what init.sh and `runtime` read."""
    (bed / "init").write_bytes(INIT.read_bytes())
    (bed / "init").chmod(0o755)
    values = {"out": out.resolve(), "checkout": CHECKOUT, "python": sys.executable}
    job = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())
    (bed / "job").write_text(job, encoding="utf-8")
    names = {"module": program.__module__, "function": program.__qualname__}
    (bed / "program").write_text(json.dumps({**names, "arguments": arguments}), encoding="ascii")


def _environment() -> dict[str, str]:
    """Return the warden's environment. TMPDIR is where the guest's memory lies."""
    try:
        room = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        room = 0
    memory = SHARED_MEMORY if room >= ROOM else tempfile.gettempdir()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "TMPDIR": memory, "PRELOAD": _preload()}


def _parameters(bed: Path, memory: str) -> list[str]:
    """Return the parameters of the guest's kernel."""
    root = ["root=none", "rootfstype=hostfs", "rootflags=/", "ro", f"init={bed}/init", f"bed={bed}"]
    consoles = ["con=null", "con0=null,fd:1", "con1=null", "ssl=null", "quiet", "loglevel=3"]
    return [f"mem={memory}", f"uml_dir={bed}", *root, *consoles]


def _read(path: Path) -> str:
    """Return a file's text, nothing if it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except FileNotFoundError:
        return ""
