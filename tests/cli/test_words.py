"""What people see: causes in bounded memory, paths that cannot harm a terminal, numbers."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.model import MOST_EXAMPLES
from archipmigrate.ui.causes import MOST_CAUSES, OTHER, Causes
from archipmigrate.ui.text import count, duration, quoted


def test_causes_count_all_and_keep_a_few_examples() -> None:
    causes = Causes()
    assert not causes
    for number in range(10):
        causes.add("rare" if number == 5 else "frequent", b"%d" % number)
    (first, frequent), (second, rare) = causes
    assert (first, frequent.count) == ("frequent", 9)
    assert frequent.paths == [b"%d" % number for number in (0, 1, 2, 3, 4)]
    assert (second, rare.count, rare.paths) == ("rare", 1, [b"5"])


def test_causes_stay_bounded_however_many_there_are() -> None:
    causes = Causes()
    for number in range(10 * MOST_CAUSES):
        causes.add(f"cause {number}", b"path")
    found = dict(causes)
    assert len(found) == MOST_CAUSES + 1
    assert found[OTHER].count == 9 * MOST_CAUSES
    assert len(found[OTHER].paths) == MOST_EXAMPLES


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"", "."),
        (b"plain/path.txt", "plain/path.txt"),
        (b"two words", "two\\ words"),
        (b"new\nline\ttab\rreturn", "new\\nline\\ttab\\rreturn"),
        (b"back\\slash", "back\\\\slash"),
        (b"\x1b[31m\x7f", "\\033[31m\\177"),
        (b"\xff\xfe", "\\377\\376"),
        ("é".encode(), "é"),
        ("a\u202eb".encode(), "a\\342\\200\\256b"),
        (b"-rf", "-rf"),
    ],
)
def test_quoted_shows_a_path_as_ls_b_does(path: bytes, shown: str) -> None:
    assert quoted(path) == shown


@given(st.binary(max_size=40))
def test_quoted_is_printable_and_loses_nothing(path: bytes) -> None:
    shown = quoted(path)
    assert shown.isprintable()
    assert " " not in shown.replace("\\ ", "")
    assert unquoted(shown) == (path or b".")


def unquoted(shown: str) -> bytes:
    """Take back what `quoted` did, as a shell's $'...' would."""
    back, at = bytearray(), 0
    letters = {"t": 9, "n": 10, "r": 13, " ": 32, "\\": 92}
    while at < len(shown):
        if shown[at] != "\\":
            back += shown[at].encode()
            at += 1
        elif shown[at + 1] in string.octdigits:
            back.append(int(shown[at + 1 : at + 4], 8))
            at += 4
        else:
            back.append(letters[shown[at + 1]])
            at += 2
    return bytes(back)


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "file", "0 files"),
        (1, "entry", "1 entry"),
        (2, "entry", "2 entries"),
        (1234, "directory", "1,234 directories"),
    ],
)
def test_count_knows_plurals(number: int, noun: str, words: str) -> None:
    assert count(number, noun) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.24, "4.2 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_duration_is_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words
