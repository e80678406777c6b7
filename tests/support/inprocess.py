"""The program called in this process: ten times faster to start than one of its own.

For tests that are about what it does, not about how a process starts, ends or is limited.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from archipmigrate.cli.main import COMMANDS, main
from archipmigrate.jobs.registry import KINDS, kind_named
from tests.support.program import GID, Ended

# Now: some tests take away what these are imported from.
for name in COMMANDS:
    import_module(f"archipmigrate.cli.{name}")
for name in KINDS:
    kind_named(name)


@dataclass(slots=True)
class Program:
    """Calls the program with one backend and its own state directory."""

    backend: str
    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *args: object) -> Ended:
        """Run a command to its end."""
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _environment(
                {
                    "ARCHIPMIGRATE_BACKEND": self.backend,
                    "ARCHIPMIGRATE_STATE": str(self.state),
                    **self.env,
                }
            ),
        ):
            try:
                status = main([str(arg) for arg in args])
            except SystemExit as end:  # argparse
                status = int(str(end.code))
        return Ended(status, out.getvalue(), err.getvalue())

    def perms(self, path: Path, *args: object) -> Ended:
        """Run `perms --json --group GID` on a path."""
        return self("perms", "--json", "--group", GID, *args, path)

    def verify(self, path: Path, *args: object) -> Ended:
        """Run `verify --json --group GID` on a path."""
        return self("verify", "--json", "--group", GID, *args, path)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    users = signal.getsignal(signal.SIGUSR1)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGUSR1, users)
