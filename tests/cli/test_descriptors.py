"""Started without standard input, output or error: what is opened then must not take their place.

The first file that a process opens gets the lowest free number: of a closed standard error, say,
and then whatever is printed there lands in it. Worker processes get standard streams of their own.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.program import GID, Cli, attrs, drift
from tests.support.situations import made

pytestmark = pytest.mark.privileged

CLOSED = {"input": "<&-", "output": ">&-", "error": "2>&-", "all": "<&- >&- 2>&-"}


def closing(cli: Cli, which: str) -> Cli:
    """Return the program as it is started with standard streams closed."""
    return replace(cli, prefix=("sh", "-c", f'exec "$@" {CLOSED[which]}', "sh"))


@pytest.fixture
def filled(share: Path) -> Path:
    (share / "d").mkdir(mode=0o700)
    for number in range(20):
        (share / "d" / f"f{number}").touch(mode=0o600)
    return share


@pytest.mark.parametrize("which", CLOSED)
def test_run_is_as_ever_with_streams_closed(cli: Cli, filled: Path, which: str) -> None:
    before = attrs(filled)
    closed = closing(cli, which)
    made(len(drift(filled)) == len(before), "entries that are to be changed")
    ended = closed("perms", "--jobs", 2, "--group", GID, filled)
    assert (ended.status, drift(filled)) == (0, [])
    assert closed("undo", "--jobs", 2).status == 0
    assert attrs(filled) == before


@pytest.mark.parametrize("which", CLOSED)
def test_verify_sees_all_with_streams_closed(cli: Cli, filled: Path, which: str) -> None:
    made(len(drift(filled)) == 22, "entries that do not comply")
    assert closing(cli, which)("verify", "--jobs", 2, "--group", GID, filled).status == 4
