"""What a command does not need to begin is not imported: start-up is most of a short run's time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from archipmigrate.cli.main import COMMANDS


def modules_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_trio_is_imported_once_there_is_work(command: str) -> None:
    assert "trio" not in modules_after(f"import archipmigrate.cli.{command}")


def test_perms_imports_neither_undo_nor_the_backends_that_it_may_not_use() -> None:
    loaded = modules_after("import archipmigrate.cli.perms")
    assert (
        not {
            "archipmigrate.perms.undo",
            "archipmigrate.backend.pool.client",
            "archipmigrate.backend.python.scan",
            "tqdm",
        }
        & loaded
    )
