"""Options that are changed in place: everything else in the file stays."""

from __future__ import annotations

import difflib
import sys

import pytest

from archipmigrate.config.edit import edit
from archipmigrate.config.ini import BadLine, Ini
from archipmigrate.errors import FatalError, UsageError
from tests.config.real_readers import V04, replace

Changed = list[tuple[str, str]]


def changes(text: str, *assignments: str) -> Changed:
    """Return the lines that are gone and the lines that came, each as a sign and a line."""
    new = edit(text, assignments)
    lines = difflib.ndiff(text.splitlines(), new.splitlines())
    return [(line[0], line[2:]) for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("assignment", "gone", "came"),
    [
        ("USER=root", ["USER=archipelago"], ["USER=root"]),
        ("user=root", ["USER=archipelago"], ["USER=root"]),
        ("ARCHIPELAGO.USER=root", ["USER=archipelago"], ["USER=root"]),
        ("UMASK=007", ["UMASK=0o007"], ["UMASK=007"]),
        ("SEGMENT_SIZE=1024", ["SEGMENT_SIZE = 512"], ["SEGMENT_SIZE = 1024"]),
        ("lock_dir=/srv/l", ["lock_dir=/srv/s7/locks"], ["lock_dir=/srv/l"]),
        ("pithos_migrate=True", [], ["pithos_migrate=True"] * 2),
        ("blockerb.nr_ops=128", ["nr_ops=64"], ["nr_ops=128"]),
        ("blockerb_port = 1", ["blockerb_port=1000"], ["blockerb_port=1"]),
        ("USER=archipelago", [], []),
        ("lock_dir=", ["lock_dir=/srv/s7/locks"], ["lock_dir="]),
    ],
)
def test_only_the_line_of_the_option_changes(
    assignment: str, gone: list[str], came: list[str]
) -> None:
    found = changes(V04, assignment)
    assert [line for sign, line in found if sign == "-"] == gone
    assert [line for sign, line in found if sign == "+"] == came


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("USER=archipelago", "USER=archipelago ; not yet", "USER=root ; not yet"),
        ("USER=archipelago", "User : archipelago", "User : root"),
        ("USER=archipelago", "USER=\tarchipelago", "USER=root"),
        ("USER=archipelago", "USER = a\n  b", "USER = root"),
    ],
)
def test_comment_and_spaces_of_the_line_stay(old: str, new: str, line: str) -> None:
    text = edit(replace(old, new)(V04), ["USER=root"])
    assert Ini(text).get("ARCHIPELAGO", "USER") == "root"
    assert any(found.split() == line.split() for found in text.splitlines()), text


def test_new_option_is_written_like_the_last_of_its_section() -> None:
    text = replace("lock_dir=/srv", "lock_dir = /srv")(V04)
    assert "pithos_migrate = True" in edit(text, ["pithos_migrate=True"])


def test_new_option_follows_the_last_of_its_section_not_the_comments_of_the_next() -> None:
    lines = edit(V04, ["pithos_migrate=True"]).splitlines()
    assert lines[lines.index("lock_dir=/srv/s7/locks") + 1] == "pithos_migrate=True"


@pytest.mark.parametrize(
    "change", [("\n", "\r\n"), ("# xseg\n", "# \udcff\n"), ("# xseg\n", "rem x\n")]
)
def test_odd_lines_stay(change: tuple[str, str]) -> None:
    text = replace(*change)(V04)
    assert edit(edit(text, ["USER=root"]), ["USER=archipelago"]) == text


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("USER", "give KEY=VALUE"),
        ("=x", "give KEY=VALUE"),
        ("pithos-migrate=True", "did you mean pithos_migrate"),
        ("nr_op=1", "did you mean"),
        ("umask=007", "name one: blockerb.umask, blockerm.umask, mapperd.umask, vlmcd.umask"),
        ("blockerm.pool=x", "no option of v0.4"),
        ("none.USER=x", "no option of v0.4"),
        ("lock_dir=/a\nlock_dir=/b", "cannot be printed"),
        ("lock_dir=/a\0", "cannot be printed"),
    ],
)
def test_assignment_that_makes_no_sense_is_refused(assignment: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        edit(V04, [assignment])


def test_option_that_is_set_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        edit(V04, ["USER=a", "ARCHIPELAGO.user=b"])


@pytest.mark.parametrize("value", ["/srv/a ; b", "/srv/%(none)s", '""', "%(x)s"])
def test_value_that_v04_would_read_as_another_is_refused(value: str) -> None:
    with pytest.raises((FatalError, BadLine)):
        edit(V04, [f"lock_dir={value}"])


@pytest.mark.parametrize(
    "change",
    [
        ("[vlmcd]", "[blockerm]\nlog_level=1\n[vlmcd]"),
        ("log_level=2", "log_level=2\nlog_level=1"),
        ("lock_dir=/srv/s7/locks", "lock_dir=/srv/s7/locks\nREM nothing"),
    ],
)
def test_file_that_cannot_be_edited_safely_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(FatalError, match="not edited"):
        edit(replace(*change)(V04), ["USER=root"])


def test_missing_library_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "configupdater", None)
    with pytest.raises(UsageError, match=r"pip install configupdater"):
        edit(V04, ["USER=root"])
