"""Call the program in this process: ten times faster to start than one of its own.

For tests of what it does, not of how a process starts, ends or is limited. What failed for reasons
that may pass is tried again after 0.01 s, not after 0.5 s.
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
from archipmigrate.engine import controllers
from archipmigrate.jobs.registry import KINDS, kind_named
from tests.support.program import GID, NO_CHECK, Ended

FIRST_PAUSE = 0.01  # seconds
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
                    "ARCHIPMIGRATE_NO_CHECK": NO_CHECK,
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
    pause = controllers.FIRST_PAUSE
    os.environ.update(values)
    controllers.FIRST_PAUSE = FIRST_PAUSE
    try:
        yield
    finally:
        controllers.FIRST_PAUSE = pause
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGUSR1, users)
