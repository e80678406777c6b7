"""Run the program under limits of a process: a prefix for `Cli`.

    restricted.py [--deny NAME=ERRNO]... [--user UID] [--nofile N] [--worker-threads N]
        -- PYTHON -m archipmigrate ...

`--deny` makes a system call fail in the program and its threads (seccomp, as containers do).
`--user` drops root for good after loading the program, so that the user need not be able to read
the interpreter.
`--worker-threads` lets each worker process of the Python backend start so many.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import resource
import runpy
import struct
import sys
from collections.abc import Iterable
from importlib import import_module
from pkgutil import walk_packages

# The same number on every machine but alpha: include/uapi/asm-generic/unistd.h
CALLS = {"clone3": 435, "openat2": 437, "fchmodat2": 452}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
# linux/bpf_common.h, linux/seccomp.h
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000


# Run in a worker process before its own program.
FEW_THREADS = """
import threading
start, left = threading.Thread.start, [{most}]
def start_few(thread):
    left[0] -= 1
    if left[0] < 0:
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = start_few
"""


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def deny(calls: Iterable[tuple[int, int]]) -> None:
    """Make system calls (number, errno) fail from now on."""
    code = [(LOAD_WORD, 0, 0, 0)]  # struct seccomp_data begins with the number
    for number, error in calls:
        code += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, RET_ERRNO | error)]
    code.append((RETURN, 0, 0, RET_ALLOW))
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    program = Program(len(code), packed)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deny", action="append", default=[])
    parser.add_argument("--user", type=int)
    parser.add_argument("--nofile", type=int)
    parser.add_argument("--worker-threads", type=int)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    if args.nofile:
        resource.setrlimit(resource.RLIMIT_NOFILE, (args.nofile, args.nofile))
    if args.worker_threads is not None:
        client = import_module("archipmigrate.backend.pool.client")
        few = FEW_THREADS.format(most=args.worker_threads)
        vars(client)["PROGRAM"] = f"exec({few!r}); {vars(client)['PROGRAM']}"
    rules = [rule.split("=") for rule in args.deny]
    if rules:
        deny((CALLS[name], getattr(errno, error)) for name, error in rules)
    if args.user is not None:
        package = import_module("archipmigrate")
        for found in walk_packages(package.__path__, "archipmigrate."):  # while they can be read
            if not found.name.endswith("__main__"):
                import_module(found.name)

        os.setgroups([])
        os.setresgid(args.user, args.user, args.user)
        os.setresuid(args.user, args.user, args.user)
    sys.argv = args.command[2:]
    runpy.run_module("archipmigrate", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
