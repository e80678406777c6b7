"""Both backends do the same where system calls fail, and where directories have no types."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archipmigrate.backend.python import scan as python_scan
from tests.support import compiled
from tests.support.parity import both, look, native, need_native, opened


@pytest.fixture(autouse=True)
def _built() -> None:
    need_native()


@pytest.fixture
def faulty() -> Callable[..., list[Any]]:
    """Call with a directory: it is looked at by both backends where calls fail as names say."""
    library = compiled.library("faults")

    def run(share: Path, wide: int = 4096, **env: str) -> list[Any]:
        preload = " ".join(filter(None, (os.environ.get("LD_PRELOAD"), str(library))))
        done = subprocess.run(
            [sys.executable, __file__, share, str(wide)],
            env={**os.environ, "PYTHONPATH": ":".join(sys.path), "LD_PRELOAD": preload, **env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        results: list[Any] = json.loads(done.stdout)
        return results

    return run


def _look_where_calls_fail(share: str, wide: str) -> None:
    """Print what both backends find; runs in a process of its own."""
    for module in (python_scan, native):
        vars(module)["WIDE"] = int(wide)
    results = []
    for kind in both():
        with opened(Path(share), kind) as backend:
            seen = look(backend)
            failures = sorted(repr(failure[:3]) for failure in seen.failures.elements())
            changes = sorted(map(repr, seen.records().elements()))
            results.append([seen.tally.as_dict(), failures, changes, seen.scans])
    sys.stdout.write(json.dumps(results))


def test_scan_tries_again_and_fails_like_the_reference(share: Path, faulty: Any) -> None:
    for directory in (share, share / "inside", share / "inside" / "deeper"):
        directory.mkdir(exist_ok=True)
        for name in ("eio-file", "estale-file", "eacces-file", "file"):
            (directory / name).touch()
        for name in ("eio-directory", "estale-directory", "eacces-directory"):
            (directory / name).mkdir()
    python, native = faulty(share)
    assert python == native
    assert native[0]["failed"] == len(native[1]) == 18


def test_scan_walks_where_directories_have_no_types(share: Path, faulty: Any) -> None:
    for directory in (share, share / "a", share / "a" / "b", share / "a" / "b" / "c"):
        directory.mkdir(exist_ok=True)
        (directory / "file").touch()
        (directory / "link").symlink_to("file")
        os.mkfifo(directory / "fifo")
    python, native = faulty(share, NO_TYPES="1")
    assert python == native
    assert native[0]["entries"] == 16
    python, native = faulty(share, wide=2, NO_TYPES="1")
    assert python[:3] == native[:3]


@pytest.mark.parametrize("call", ["0", "1", "2", "3"])
def test_scan_reads_a_directory_again_after_an_error(share: Path, faulty: Any, call: str) -> None:
    (share / "directory").mkdir()
    for i in range(100):
        (share / "directory" / f"file{i}").touch()
    python, native = faulty(share, FAIL_GETDENTS=call)
    assert python[:3] == native[:3]
    assert native[3] == python[3] + 1


def test_scan_looks_at_what_it_read_of_a_wide_directory_before_an_error(
    share: Path, faulty: Any
) -> None:
    for i in range(300):
        (share / f"file-with-a-longer-name-{i}").touch()
    _, native = faulty(share, wide=8, FAIL_GETDENTS="3")
    assert native[1] == [repr((b"", "readdir", errno.EIO))]
    assert 24 < native[0]["files"] < 300
    assert len(native[2]) == native[0]["files"] + 1


if __name__ == "__main__":
    _look_where_calls_fail(*sys.argv[1:])
