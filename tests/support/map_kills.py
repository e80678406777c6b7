"""A run of `mapfiles` that is killed between two volumes of one batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from archipmigrate.maps.blocker import together
from archipmigrate.maps.blocker.preimage import VolumePreimage
from archipmigrate.maps.blocker.store import Store
from tests.support.inprocess import Program
from tests.support.map_runs import arguments


def killed_before_the_second(program: Program, maps: Path, *options: object) -> None:
    """Run until one volume is upgraded; kill the run before the next one of its unit is changed."""
    real = together.apply

    def apply(store: Store, preimages: Sequence[VolumePreimage]) -> Sequence[Exception | None]:
        real(store, preimages[:1])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    pid = os.fork()
    if pid == 0:
        together.apply = apply
        program(*arguments(maps), *options)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
