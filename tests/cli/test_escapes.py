"""No terminal obeys what a name holds, and JSON is what any parser takes."""

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
from tests.support.program import GID, Ended
from tests.support.situations import made

pytestmark = pytest.mark.privileged

ODD = b"sh\xff\x1b[31mare\x9b\r"  # not UTF-8, and what turns a terminal red
ESCAPE = "\x1b[31m"
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


def obeyed(ended: Ended) -> list[str]:
    """Return the lines in which there is something that a terminal would obey."""
    lines = (ended.out + ended.err).split("\n")
    return [ascii(line) for line in lines if any(c < " " or "\x7f" <= c < "\xa0" for c in line)]


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


# -- terminals


@pytest.mark.parametrize("command", ["perms", "verify", "undo", "resume", "status"])
def test_terminal_obeys_no_name_of_a_share(program: Program, odd: Path, command: str) -> None:
    program.state = odd.parent / os.fsdecode(b"st\x1b[31m")
    program.state.mkdir(mode=0o700)
    if command == "perms":
        ended = program("perms", "--group", GID, odd)
    else:
        made(program.perms(odd).status == 0, "a run")
        if command in ("resume", "status"):
            interrupt(journal_of(program.state))
        ended = program(command, *(("--group", 5, odd) if command == "verify" else ()))
    made("perms" in ended.out or "undo" in ended.out or "verify" in ended.out, "a summary")
    assert obeyed(ended) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("perms", "--group", GID, f"/nothing/{ESCAPE}"),
        ("verify", "--group", GID, f"/nothing/{ESCAPE}"),
        ("perms", "--group", GID, f"nfs://server{ESCAPE}/"),
        ("perms", "--group", f"gr{ESCAPE}oup", "/tmp"),
        ("testshare", f"/nothing/{ESCAPE}"),
        ("mapfiles", "-n", "--maps", f"/nothing/{ESCAPE}"),
        ("mapfiles", "-n", "--config", f"/nothing/{ESCAPE}"),
        ("perms", "--group", GID, "--state", f"/proc/{ESCAPE}", "/tmp"),
    ],
    ids=["path", "path of verify", "url", "group", "sample", "maps", "configuration", "state"],
)
def test_terminal_obeys_no_argument_that_is_wrong(
    program: Program, arguments: tuple[object, ...]
) -> None:
    ended = program(*arguments)
    made(ended.status in (1, 2), "an error")
    made("31m" in ended.err, "an error that names what is wrong")
    assert obeyed(ended) == []


@pytest.mark.parametrize("command", ["undo", "resume", "forget", "status"])
def test_terminal_obeys_no_name_of_a_run(program: Program, command: str) -> None:
    ended = program(command, f"run{ESCAPE}")
    made("31m" in ended.out + ended.err, "an answer that names the run")
    assert obeyed(ended) == []


@pytest.mark.parametrize(
    "line",
    [f"lock_dir = /x{ESCAPE}", f"USER = {ESCAPE}x", f"GROUP = {ESCAPE}x"],
    ids=["locks", "user", "group"],
)
def test_terminal_obeys_no_value_of_a_configuration(
    program: Program, maps: Path, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "conf"
    owner = {"USER": "root", "GROUP": "root"}
    blocker = f"[blockerm]\narchip_dir = {maps}\n"
    if line.startswith("lock_dir"):
        blocker += line
    else:
        name, _, value = line.partition(" = ")
        owner[name] = value
    path.write_text("[ARCHIPELAGO]\n" + "".join(f"{n} = {v}\n" for n, v in owner.items()) + blocker)
    ended = program("mapfiles", "-n", "--config", path)
    made(ended.status == 1 and "31m" in ended.err, "an error that names the value")
    assert obeyed(ended) == []
