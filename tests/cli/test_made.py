"""Completion and manual pages, as they are made of the parser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from archipmigrate.cli.made import SHELLS, completion, manual_pages
from archipmigrate.cli.main import COMMANDS, main

TRY = r"""
source "$1"
shift
COMP_WORDS=(archipmigrate "$@") COMP_CWORD=$#
$(complete -p archipmigrate | sed 's/.* -F \([^ ]*\) .*/\1/') 2>/dev/null
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "bash"
    path.write_text(completion("bash"))
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["re"], {"relocate", "resume"}),
        (["perms", "--dry"], {"--dry-run"}),
        (["perms", "--backend", "n"], {"native", "nfs"}),
        (["mapfiles", "s"], {"show"}),
        (["undo", ""], {"perms-1", "relocate-2"}),
        (["undo", "p"], {"perms-1"}),
        (["status", "--state", "OTHER", ""], {"mapfiles-3"}),
        (["status", "--state", "missing", ""], {""}),
    ],
)
def test_bash_completes_commands_options_and_runs(
    script: Path, tmp_path: Path, line: list[str], expected: set[str]
) -> None:
    for name in ("state/perms-1", "state/relocate-2", "OTHER/mapfiles-3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        for suffix in (".journal", ".journal-share", ".journal-over"):
            (tmp_path / f"{name}{suffix}").touch()
    done = subprocess.run(
        ["bash", "-c", TRY, "bash", script, *line],
        env={"PATH": "/usr/bin:/bin", "ARCHIPMIGRATE_STATE": str(tmp_path / "state")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.removesuffix("\n").split("\n")) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_printed_as_it_was_made(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert out.rstrip("\n") == completion(shell).rstrip("\n")
    assert "_archipmigrate_runs()" in out


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs Debian's zsh")
def test_zsh_reads_its_script(tmp_path: Path) -> None:
    path = tmp_path / "_archipmigrate"
    path.write_text(completion("zsh"))
    subprocess.run(["zsh", "-n", path], check=True)


def test_every_command_has_a_page_with_its_examples() -> None:
    pages = dict(manual_pages())
    for command in COMMANDS:
        assert ".SH EXAMPLES" in pages[f"archipmigrate-{command}.1"] or command == "config"
    assert {"archipmigrate.1", "archipmigrate-mapfiles-show.1"} < set(pages)
    assert r"archipmigrate perms \-n \-\-list" in pages["archipmigrate-perms.1"]
    assert ".SH EXIT STATUS\n0 " in pages["archipmigrate-perms.1"]


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs Debian's mandoc")
def test_pages_have_nothing_to_warn_of(tmp_path: Path) -> None:
    for name, text in manual_pages():
        (tmp_path / name).write_text(text)
    paths = sorted(map(str, tmp_path.glob("*.1")))
    lint = ["mandoc", "-T", "lint", "-W", "warning", *paths]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
