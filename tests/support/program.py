"""The program as a process; attrs of trees; missing packages."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GID = 54321  # a group that no test tree has at first, and that has no name on any system
# Many shares of tests are empty: a job would ask whether they are mounted. See tests/check.
NO_CHECK = "1"
MISSING: set[str] = set()


def missing(package: str) -> None:
    """Skip a test whose package is not installed; in CI that is a failure."""
    import pytest  # noqa: PLC0415 -- programs in the NFS guest, where all is slow, need the rest

    MISSING.add(package)
    if os.environ.get("CI"):
        pytest.fail(f"{package} is not installed")
    pytest.skip(f"{package} is not installed")


def need(program: str, package: str = "") -> str:
    """Return the path of a program that a test needs, or skip it."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        missing(package or program)
    return str(found)


@dataclass(frozen=True, slots=True)
class Ended:
    """How the program ended. `objects` are the lines of a --json run."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """All JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last JSON line."""
        return self.objects[-1]


@dataclass(slots=True)
class Cli:
    """Runs the program as a user would, in a process of its own."""

    backend: str
    state: Path
    env: dict[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()

    def environment(self) -> dict[str, str]:
        """The process's environment."""
        own = {
            "ARCHIPMIGRATE_BACKEND": self.backend,
            "ARCHIPMIGRATE_STATE": str(self.state),
            "ARCHIPMIGRATE_NO_CHECK": NO_CHECK,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        return {**os.environ, **own, **self.env}

    def command(self, *args: object) -> list[str]:
        """Return the command line, for callers that start it themselves."""
        return [*self.prefix, sys.executable, "-m", "archipmigrate", *map(str, args)]

    def __call__(self, *args: object, timeout: float = 100) -> Ended:
        """Run a command to its end."""
        done = subprocess.run(
            self.command(*args),
            env=self.environment(),
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *args: object, **more: Any) -> subprocess.Popen[str]:
        """Start a command and return its process."""
        return subprocess.Popen(self.command(*args), env=self.environment(), text=True, **more)

    def perms(self, path: Path, *args: object) -> Ended:
        """Run `perms --json --group GID` on a path."""
        return self("perms", "--json", "--group", GID, *args, path)


Attrs = tuple[int, int, int]


def attrs(root: Path | bytes) -> dict[bytes, Attrs]:
    """Return (mode, uid, gid) of every entry below and including *root*, at any depth."""
    found: dict[bytes, Attrs] = {}
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found[b""] = _attrs(os.fstat(top))
        found.update(_below(top, b""))
    finally:
        os.close(top)
    return found


def _below(directory: int, path: bytes) -> Iterator[tuple[bytes, Attrs]]:
    for text in os.listdir(directory):
        name = os.fsencode(text)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        where = path + b"/" + name if path else name
        yield where, _attrs(status)
        if stat.S_ISDIR(status.st_mode):
            deeper = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            try:
                yield from _below(deeper, where)
            finally:
                os.close(deeper)


def _attrs(status: os.stat_result) -> Attrs:
    return status.st_mode, status.st_uid, status.st_gid


def drift(root: Path, gid: int = GID) -> list[bytes]:
    """Return the directories and regular files that are not as the guide would leave them."""
    wrong = []
    for path, (mode, _, group) in attrs(root).items():
        bits = 0o2070 if stat.S_ISDIR(mode) else 0o060
        if (stat.S_ISDIR(mode) or stat.S_ISREG(mode)) and (group != gid or mode & bits != bits):
            wrong.append(path)
    return wrong
