"""Both backends tell entries apart by the same identities, and put back what came of changes."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from archipmigrate.backend.base import Backend
from archipmigrate.backend.python.identity import by_handle
from archipmigrate.model import Applied, IdentityKind, Known, Outcome, Verb
from archipmigrate.packed.changes import read_changes
from archipmigrate.packed.groups import walk_unit, whole
from archipmigrate.policy import NO_ID
from tests.support.parity import (
    ENDLESS,
    EVERYTHING,
    POLICY,
    both,
    extension,
    need_native,
    opened,
)
from tests.support.program import GID, attrs

pytestmark = pytest.mark.privileged


@pytest.fixture(autouse=True)
def built() -> None:
    need_native()


@pytest.fixture(params=[True, False], ids=["births", "handles"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without statx the C backend does not learn births, and handles take their place."""
    if not request.param:
        monkeypatch.setitem(extension.FEATURES, "statx", False)


def changes_of(backend: Backend) -> bytes:
    return backend.scan(walk_unit([whole()]), POLICY, EVERYTHING, ENDLESS).preimage


def applied_to(body: bytes, path: bytes, applied: Applied) -> tuple[int, int]:
    """Return the outcome of the change of a path, and the identity that was noted."""
    (index,) = [c.index for c in read_changes(body) if c.path == path]
    return applied.outcomes[index], applied.known.identity(index)


def test_apply_notes_the_same_identities(share: Path, kernel: None) -> None:
    for name in ("a", "b"):
        (share / name).touch(mode=0o600)
    results = []
    for kind in both():
        with opened(share, kind) as backend:
            body = changes_of(backend)
            made_changes = backend.apply(body, Verb.FORWARD)
            settled = backend.apply(body, Verb.SETTLE)
            assert made_changes.identities == settled.identities
            assert applied_to(body, b"a", made_changes)[1] != 0
            results.append((made_changes.identity_kind, made_changes.identities))
            back = backend.apply(body, Verb.BACK, known=made_changes.known)
            assert set(back.outcomes) == {Outcome.CHANGED}
    if extension.FEATURES["statx"]:
        assert results[0] == results[1]
    else:
        fd = os.open(share / "a", os.O_PATH)
        assert results[1][0] == IdentityKind.HANDLE
        assert by_handle(fd).to_bytes(8, "little") in results[1][1]
        os.close(fd)


def test_apply_puts_back_entries_of_the_same_identity_only(share: Path, kernel: None) -> None:
    (share / "file").touch(mode=0o600)
    for kind in both():
        with opened(share, kind) as backend:
            body = changes_of(backend)
            known = backend.apply(body, Verb.FORWARD).known
            others = bytes(byte ^ 1 for byte in known.identities)
            before = attrs(share)
            left = backend.apply(body, Verb.BACK, known=replace(known, identities=others))
            assert set(left.outcomes) == {Outcome.DIFFERENT}
            assert attrs(share) == before
            unknown = bytes(len(others))  # nothing was changed: then nothing was noted
            back = backend.apply(body, Verb.BACK, known=replace(known, identities=unknown))
            assert set(back.outcomes) == {Outcome.CHANGED}


@pytest.mark.parametrize("halfway", [False, True])
def test_apply_puts_back_what_read_back_differently(share: Path, *, halfway: bool) -> None:
    (share / "d").mkdir(mode=0o750)
    before = attrs(share)
    for kind in both():
        with opened(share, kind) as backend:
            body = changes_of(backend)
            (index,) = [c.index for c in read_changes(body) if c.path == b"d"]
            os.chown(share / "d", -1, 77)
            (share / "d").chmod(0o750 if halfway else 0o711)
            assert applied_to(body, b"d", backend.apply(body, Verb.BACK))[0] == Outcome.DIFFERENT
            known = Known(came=((index, 0o40711, NO_ID, 77),))
            back = backend.apply(body, Verb.BACK, known=known)
            assert applied_to(body, b"d", back)[0] == Outcome.CHANGED
            assert attrs(share) == before


def test_settling_completes_a_change_whose_set_gid_was_dropped(share: Path) -> None:
    (share / "d").mkdir(mode=0o750)
    for kind in both():
        with opened(share, kind) as backend:
            os.chown(share / "d", -1, 0)
            (share / "d").chmod(0o750)
            body = changes_of(backend)
            (change,) = [c for c in read_changes(body) if c.path == b"d"]
            os.chown(share / "d", -1, GID)
            (share / "d").chmod(stat.S_IMODE(change.new_mode) & ~stat.S_ISGID)
            settled = backend.apply(body, Verb.SETTLE)
            assert applied_to(body, b"d", settled)[0] == Outcome.CHANGED
            assert (share / "d").stat().st_mode == change.new_mode
