"""The NFS client's C code with the inputs that a fuzzer found (fuzz.py), under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fuzz import fuzz
from tests.support.program import need

READERS = ["status", "getattr", "lookup", "listing", "setattr", "mount", "port", "fsstat"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the target with a main() of its own."""
    program = tmp_path_factory.mktemp("fuzz") / "fuzz_nfs"
    fuzz.build(program, need("gcc"), "-fsanitize=address,undefined")
    return program


def run(program: Path, *words: object) -> tuple[int, str]:
    """Run it; return its status and what it said."""
    # The sanitizer wants to be loaded first; looking for leaks needs rights that not all have.
    command = ["env", "-u", "LD_PRELOAD", "ASAN_OPTIONS=detect_leaks=0", program, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_nothing_of_the_corpus_breaks_the_client(program: Path, tmp_path: Path) -> None:
    inputs = fuzz.unpack(tmp_path)
    assert len(inputs) > 100
    assert run(program, *inputs) == (0, "")


@pytest.mark.parametrize("reader", range(len(READERS)), ids=READERS)
def test_sanitizer_sees_a_reader_go_too_far(program: Path, reader: int) -> None:
    status, said = run(program, "overrun", reader)
    assert status != 0
    assert "heap-buffer-overflow" in said


@pytest.mark.parametrize("version", [3, 4])
def test_target_sees_a_client_that_does_not_end(
    program: Path, tmp_path: Path, version: int
) -> None:
    fuzz.unpack(tmp_path)
    endless = tmp_path / f"guard-that-always-fails-{version}"
    assert run(program, endless, "steps", 1000) == (0, "")
    status, said = run(program, endless, "steps", 10)
    assert (status != 0, said) == (True, "wrong: no end\n")
