"""A state directory in a share that this very host exports, and that is named by its URL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nfs.ganesha import Ganesha
from tests.support.inprocess import Program
from tests.support.program import GID, attrs
from tests.support.situations import made

pytestmark = pytest.mark.privileged


@pytest.mark.parametrize("version", [3, 4])
def test_state_in_a_share_that_is_named_by_a_url_is_never_opened_to_the_group(
    program: Program, share: Path, ganesha: Callable[..., Ganesha], version: int
) -> None:
    (share / "file").touch(mode=0o600)
    program.state = share / "deep" / "state"
    program.state.mkdir(parents=True, mode=0o700)
    url = ganesha(share).url(version)
    ended = program("perms", "--group", GID, url)
    found = attrs(share)
    made(b"deep/state" in found, "a state directory in the share")
    opened = [p for p, (mode, _, gid) in found.items() if b"state" in p and (gid or mode & 0o077)]
    assert (ended.status, opened) == (1, [])
    assert "the state directory" in ended.out
