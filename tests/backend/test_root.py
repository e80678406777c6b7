"""What backends say of a root that is not there any more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from archipmigrate.backend.base import ScanOptions
from archipmigrate.backend.native import NativeBackend
from archipmigrate.backend.python.backend import PythonBackend
from archipmigrate.backend.root import is_removed
from archipmigrate.model import Limits
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import GroupPolicy

Backends = type[NativeBackend] | type[PythonBackend]


def test_removed_root_is_told_from_one_that_is_called_so(tmp_path: Path) -> None:
    for name in ("a", "b (deleted)"):
        directory = tmp_path / name
        directory.mkdir()
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        assert not is_removed(root)
        moved = directory.rename(tmp_path / "elsewhere")
        assert not is_removed(root)
        moved.rmdir()
        assert is_removed(root)
        os.close(root)


@pytest.mark.parametrize("kind", [NativeBackend, PythonBackend])
def test_scan_of_a_removed_root_is_a_failure(kind: Backends, tmp_path: Path) -> None:
    directory = tmp_path / "share"
    directory.mkdir()
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    backend = kind(root)
    os.close(root)
    directory.rmdir()
    scan = backend.scan(
        walk_unit([whole()]), GroupPolicy(os.getgid()), ScanOptions(), Limits(60, 100, 100)
    )
    backend.close()
    assert [(f.path, f.operation, f.errno) for f in scan.failures] == [(b"", "open", errno.ENOENT)]
