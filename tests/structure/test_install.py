"""Without a C compiler the install works, and the Python backend serves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from tests.support.program import GID, drift

PROJECT = Path(__file__).parents[2]
WHAT_IT_TAKES = (
    "archipmigrate",
    "native",
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "MANIFEST.in",
)


@pytest.mark.slow
@pytest.mark.privileged
@pytest.mark.timeout(300)
def test_install_without_a_compiler_has_the_python_backend(share: Path, tmp_path: Path) -> None:
    source, venv = tmp_path / "source", tmp_path / "venv"
    source.mkdir()
    for name in WHAT_IT_TAKES:
        if (PROJECT / name).is_dir():
            shutil.copytree(
                PROJECT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__")
            )
        else:
            shutil.copy(PROJECT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run(
        [venv / "bin" / "pip", "install", "--quiet", source],
        env={**os.environ, "CC": "/bin/false"},
        check=True,
        capture_output=True,
    )
    program = venv / "bin" / "archipmigrate"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, words)]
        return subprocess.run(
            command, env=clean, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert "(backends: python;" in run("--version").stdout
    demanded = run("perms", "--backend", "native", "--group", GID, share)
    assert demanded.returncode == 1
    assert "the native backend is not installed" in demanded.stderr
    (share / "file").touch(mode=0o600)
    changed = run("perms", "--group", GID, "--state", tmp_path / "state", share)
    assert changed.returncode == 0
    assert changed.stderr.count("the C extension is not installed") == 1
    assert not drift(share)
    asked = run("verify", "--backend", "python", "--group", GID, "--state", tmp_path, share)
    assert "C extension" not in asked.stderr


def test_links_of_what_an_index_shows_are_absolute() -> None:
    shown = metadata("archipmigrate")
    text = shown.json["description"]
    links = re.findall(r"\]\(([^)]*)\)", str(text))
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
