"""JSON is what any parser takes, and commands are what a shell reads, whatever names hold."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.ui.text import as_json, command_line
from tests.support.inprocess import Program
from tests.support.journals import interrupt, journal_of
from tests.support.program import GID
from tests.support.situations import made

pytestmark = pytest.mark.privileged

ODD = b"sh\xff\x1b[31mare\x9b\r"  # not UTF-8, and what turns a terminal red
SURROGATE = re.compile(r"[\ud800-\udfff]")


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough: nothing of this is the backend's."""
    return codec


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A share of an odd name."""
    path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), ODD)))
    path.mkdir(mode=0o700)
    (path / "file").touch(mode=0o600)
    return path


def strings(thing: object) -> Iterator[str]:
    """Yield all strings of a JSON value."""
    if isinstance(thing, str):
        yield thing
    elif isinstance(thing, dict):
        for key, value in thing.items():
            yield from (key, *strings(value))
    elif isinstance(thing, list):
        for value in thing:
            yield from strings(value)


def lone_surrogates(out: str) -> list[str]:
    """Return the strings of JSON lines that are not Unicode text."""
    found = (text for line in out.splitlines() for text in strings(json.loads(line)))
    return [ascii(text) for text in found if SURROGATE.search(text)]


# -- JSON


@pytest.mark.parametrize("command", ["perms", "verify", "undo"])
def test_json_of_a_run_is_unicode_whatever_the_share_is_called(
    program: Program, odd: Path, command: str
) -> None:
    if command == "undo":
        made(program.perms(odd).status == 0, "a run")
        ended = program("undo", "--json")
    else:
        ended = program(command, "--json", "--group", GID, odd)
    assert ended.summary["entries"] == 2
    assert lone_surrogates(ended.out) == []


def test_json_of_status_is_unicode_whatever_the_share_is_called(
    program: Program, odd: Path
) -> None:
    made(program.perms(odd).status == 0, "a run")
    ended = program("status", "--json")
    assert lone_surrogates(ended.out) == []
    assert base64.b64decode(ended.objects[0]["share_b64"]) == os.fsencode(odd)


def test_json_of_status_is_unicode_whatever_the_state_directory_is_called(
    program: Program, odd: Path, share: Path
) -> None:
    program.state = odd / "state"
    program.state.mkdir(mode=0o700)
    made(program.perms(share).status == 0, "a run")
    interrupt(journal_of(program.state))
    ended = program("status", "--json")
    made(ended.objects[0]["resume"], "a run that says how to go on with it")
    assert lone_surrogates(ended.out) == []


def test_json_has_the_bytes_of_what_is_no_text() -> None:
    odd = os.fsdecode(b"a\xffb")
    thing = {"a": odd, "b": [odd, {"c": odd}], "d": "\U0001f5c4", "e": 1, "f": "\ud800"}
    assert json.loads(as_json(thing)) == {
        "a": "a\ufffdb",
        "a_b64": "Yf9i",
        "b": ["a\ufffdb", {"c": "a\ufffdb", "c_b64": "Yf9i"}],
        "d": "\U0001f5c4",
        "e": 1,
        "f": "\ufffd" * 3,
        "f_b64": "7aCA",
    }


# -- commands to copy


@pytest.mark.parametrize(
    "word",
    [
        ODD,
        b"plain",
        b"",
        b"two words",
        b"it's",
        b"\x1b'1\\n$x`y`",
        b"new\nline7",
        "\u202e".encode(),
    ],
)
def test_shell_reads_the_words_of_a_command_that_is_shown(word: bytes) -> None:
    shown = command_line(["printf", "%s", os.fsdecode(word)])
    assert shown.isprintable()
    done = subprocess.run(["bash", "-c", shown], capture_output=True, check=True)
    assert done.stdout == word
