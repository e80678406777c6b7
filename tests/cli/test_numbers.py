"""Numbers are ASCII digits: int() takes those of other scripts, spaces and underscores, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipmigrate.errors import ShareError
from archipmigrate.share.url import parse_url
from tests.support.inprocess import Program
from tests.support.program import attrs
from tests.support.situations import made

DIGITS = ["\u0663", "\uff13", "3\u0663"]  # Arabic-Indic, fullwidth
LOOSE = ["1_0", " 5", "+5", "5\n", "-5", "0x5", "5.0", ""]


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough."""
    return codec


def refuses(program: Program, share: Path, option: str, text: str) -> bool:
    """Give an option a number; say whether it was refused, with nothing changed."""
    before = attrs(share)
    group = () if option == "--group" else ("--group", 54321)
    made(program("perms", "--dry-run", *group, option, 5, share).status == 0, "an option for 5")
    return program("perms", *group, option, text, share).status == 2 and attrs(share) == before


@pytest.mark.privileged
@pytest.mark.parametrize("text", DIGITS)
@pytest.mark.parametrize("option", ["--group", "--jobs", "--max-ops"])
def test_digits_of_other_scripts_are_refused(
    program: Program, share: Path, option: str, text: str
) -> None:
    assert refuses(program, share, option, text)


@pytest.mark.privileged
@pytest.mark.parametrize("text", LOOSE)
@pytest.mark.parametrize("option", ["--group", "--jobs", "--max-ops"])
def test_what_only_programs_take_for_numbers_is_refused(
    program: Program, share: Path, option: str, text: str
) -> None:
    assert refuses(program, share, option, text)


@pytest.mark.parametrize("text", [*DIGITS, *LOOSE[:4]])
@pytest.mark.parametrize("name", ["nfsport", "uid", "timeout"])
def test_options_of_a_url_take_ascii_digits_only(name: str, text: str) -> None:
    made(parse_url(f"nfs://server/share?{name}=5").options == {name: 5}, "an option of a URL")
    quoted = text.replace("+", "%2B").replace("\n", "%0A")
    options = None
    try:
        options = parse_url(f"nfs://server/share?{name}={quoted}").options
    except ShareError:
        return
    assert options is None


@pytest.mark.parametrize("text", [*DIGITS, "1_0", " 5", "+5"])
def test_seed_takes_ascii_digits_only(program: Program, tmp_path: Path, text: str) -> None:
    arguments = ("--objects", 0, "--volumes", 0, "--seed")
    made(program("testshare", tmp_path / "good", *arguments, 5).status == 0, "an option for 5")
    assert program("testshare", tmp_path / "made", *arguments, text).status == 2
