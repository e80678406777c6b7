"""Fixtures: a guest to run programs in, nfs-ganesha on the loopback, Program."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nfs.ganesha import Ganesha
from tests.nfs.guest import BootFailed, Result, run_guest
from tests.nfs.packages import GANESHA, GUEST, require
from tests.support.inprocess import Program
from tests.support.program import missing


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Call with a program and its arguments: run_guest, with a directory of its own for `out`.

    A boot takes seconds: tests of one run share it by a fixture of their module. Where the guest
    does not boot, the first test says why, and the others fail at once.
    """
    require(GUEST)
    allowed = subprocess.run(
        ["unshare", "--pid", "--fork", "true"], capture_output=True, check=False
    )
    if allowed.returncode:
        missing(f"the right to make PID namespaces ({allowed.stderr.decode().strip()})")

    failed: list[str] = []

    def run(
        program: Callable[..., None], *arguments: object, timeout: float = 90, memory: str = "1G"
    ) -> Result:
        if failed:
            pytest.fail(f"no guest boots here: see {failed[0]}", pytrace=False)
        out = tmp_path_factory.mktemp("guest")
        try:
            return run_guest(program, out, *arguments, timeout=timeout, memory=memory)
        except BootFailed as error:
            failed.append(os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0])
            message = str(error)
        pytest.fail(message, pytrace=False)

    return run


@pytest.fixture
def ganesha() -> Iterator[Callable[..., Ganesha]]:
    """Call with a directory and settings of Ganesha to serve it until the test ends."""
    require(GANESHA)
    with contextlib.ExitStack() as stack:

        def serve(export: Path, **settings: Any) -> Ganesha:
            return stack.enter_context(Ganesha(export, **settings))

        yield serve


@pytest.fixture
def program(state: Path) -> Program:
    """The program in this process, with the backend that the share needs."""
    return Program("auto", state)
