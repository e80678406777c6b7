"""What is said of guests that do not boot, and how they do on CPUs with AMX (xstate.c)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nfs import guest
from tests.nfs.guest import BootFailed, run_guest
from tests.nfs.guest_programs import bed
from tests.nfs.packages import GUEST, require
from tests.nfs.traces import leaving_nothing
from tests.support import compiled

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.usefixtures("guest")]


def boot(tmp_path: Path, timeout: float = 90) -> str:
    """Try to boot a guest; return what is said of that it failed."""
    (tmp_path / "left").mkdir()
    with leaving_nothing(tmp_path / "left"), pytest.raises(BootFailed) as failed:
        run_guest(bed.bed, tmp_path, timeout=timeout)
    return str(failed.value)


def test_kernel_that_ends_at_once_is_said_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "KERNEL", "false")
    first, *rest = boot(tmp_path).splitlines()
    assert first == (
        "the guest died at boot, before bed began: false ended without a panic (exit status 1)"
    )
    assert rest[:2] == ["--- last lines of its console", "(nothing)"]
    assert "reinstall user-mode-linux" in rest[-2]


@pytest.mark.parametrize(
    ("found", "broken", "cause", "said", "advice"),
    [
        ("/sbin/modprobe --dirname", "/sbin/modprobe missing --dirname",
         "Attempted to kill init! exitcode=0x00000100", "missing not found", "init.sh"),
        # As where the registers cannot be restored.
        ("set -eu", f"exec {sys.executable} -c 'import ctypes; ctypes.string_at(0)'",
         "Attempted to kill init! exitcode=0x0000000b", "", "ARCHIPMIGRATE_XSTATE=1"),
    ],
    ids=["exit", "SIGSEGV"],
)  # fmt: skip
def test_init_that_ends_is_said_to_have_made_the_kernel_panic(
    found: str,
    broken: str,
    cause: str,
    said: str,
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = tmp_path / "init"
    script.write_text(guest.INIT.read_text().replace(found, broken))
    monkeypatch.setattr(guest, "INIT", script)
    shown = boot(tmp_path)
    first = shown.splitlines()[0]
    assert first.startswith(
        "the guest died at boot, before bed began: Kernel panic - not syncing: "
    )
    assert cause in first
    assert said in shown
    assert advice in shown.partition("what to do")[2]


def test_program_that_cannot_be_started_is_said_to_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    shown = boot(tmp_path)
    assert shown.startswith(
        "the guest died at boot, before bed began: /bin/false ended with status 1 in the guest"
    )


def test_boot_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "init"
    script.write_text("#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n")
    monkeypatch.setattr(guest, "INIT", script)
    assert "(not done after 2 s)" in boot(tmp_path, timeout=2)


# -- registers

REGISTERS = """
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
TRACEME, GETREGSET, SETREGSET, NT_X86_XSTATE = 0, 0x4204, 0x4205, 0x202

def regset(request, room, content=b""):
    buffer = ctypes.create_string_buffer(content, room)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), room)
    if libc.ptrace(request, pid, ctypes.c_void_p(NT_X86_XSTATE), vector):
        sys.exit(os.strerror(ctypes.get_errno()))
    return buffer.raw[: vector[1]]

pid = os.fork()
if not pid:
    libc.ptrace(TRACEME, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)
os.waitpid(pid, 0)
try:
    before = regset(GETREGSET, 65536)
    part = bytearray(regset(GETREGSET, 576))
    assert part == before[:576]
    part[160:176] = b"what is in xmm0."
    part[512] |= 2  # SSE is in use
    regset(SETREGSET, len(part), bytes(part))
    after = regset(GETREGSET, 65536)
    assert after[160:176] == part[160:176]
    assert after[576:] == before[576:]
    known = 0xff  # the components of XSTATE_BV that a guest may change
    bits = [struct.unpack_from("Q", registers, 512)[0] for registers in (before, after)]
    assert bits[0] & ~known == bits[1] & ~known
    print(len(before))
finally:
    os.kill(pid, signal.SIGKILL)
"""


@pytest.mark.parametrize("preloaded", [False, True])
def test_registers_are_set_by_their_first_part_with_xstate_only(preloaded: bool) -> None:
    """With 576 bytes where the host has more, as a guest with 2,696 on a host with 11,008."""
    library = {"LD_PRELOAD": str(compiled.library("xstate"))} if preloaded else {}
    done = subprocess.run(
        [sys.executable, "-c", REGISTERS],
        env={**os.environ, **library},
        capture_output=True,
        text=True,
        check=False,
    )
    if preloaded:
        assert (done.returncode, done.stderr) == (0, "")
        assert int(done.stdout) > 576
    else:
        assert done.stderr in ("Bad address\n", "Invalid argument\n")


def test_guest_boots_with_xstate_where_the_host_does_not_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require({**GUEST, "gcc": "gcc"})
    monkeypatch.setenv("ARCHIPMIGRATE_XSTATE", "1")
    guest._preload.cache_clear()
    try:
        result = run_guest(bed.computes, tmp_path)
    finally:
        guest._preload.cache_clear()
    assert result.reports == {"sums": [499_999_500_000.0] * 3}, result.err
