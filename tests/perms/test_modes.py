"""`--mode`: read as chmod reads it, given like chmod and chgrp, and put back.

What chmod itself makes of each mode decides.
"""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipmigrate.backend.base import Backend
from archipmigrate.backend.python.backend import PythonBackend
from archipmigrate.errors import UsageError
from archipmigrate.model import Verb
from archipmigrate.modes import GUIDE, GUIDE_TEXT, Modes, read_mode, read_modes
from archipmigrate.packed.changes import read_changes
from archipmigrate.perms.settings import PermsSettings
from archipmigrate.perms.settings import read_mode as as_setting
from archipmigrate.policy import NO_ID, GroupPolicy, packed_modes, stripped
from tests.support import thinned
from tests.support.inprocess import Program
from tests.support.journals import journal_of, reopened
from tests.support.odd_tree import odd_tree, put
from tests.support.parity import both, look, need_native, opened
from tests.support.program import GID, Attrs, attrs
from tests.support.situations import made

ALL_MODES = range(0o10000)
KINDS = (stat.S_IFDIR, stat.S_IFREG)
MODES = [
    *("g+rwxs", "g+rw", "a=rX", "go-w,o=", "g=u,o=", "u=rwX,go=rX", "ug+X,o-rwxt", "g=u-w"),
    *(
        "a-x,a+X",
        "u-x+X",
        "g=o,o=u",
        "a+t",
        "a-s",
        "u+s-s",
        "g=s,o=t",
        "ug=rwxs",
        "a=",
        "a=t",
        "g-s",
    ),
    *("0", "660", "0755", "2770", "02770", "00755", "006755", "+0111", "-07022", "=640", "=2755"),
]


def random_modes(count: int) -> Iterator[str]:
    """Yield modes of one to three clauses."""
    rng = random.Random(1)
    for _ in range(count):
        clauses = []
        for _ in range(rng.randrange(1, 4)):
            clause = "".join(rng.choices("ugoa", k=rng.randrange(1, 3)))
            for _ in range(rng.randrange(1, 3)):
                bits = "".join(rng.choices("rwxXst", k=rng.randrange(4)))
                clause += rng.choice("-+=") + rng.choice((bits, bits, rng.choice("ugo")))
            clauses.append(clause)
        yield ",".join(clauses)


def run_chmod(mode: str, directory: Path) -> None:
    """Let chmod change all that is in a directory."""
    names = sorted(os.listdir(directory))
    subprocess.run(["chmod", "--", mode, *names], cwd=directory, check=True)


def test_each_mode_becomes_what_chmod_makes_of_it(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / str(kind)).mkdir()
        for mode in ALL_MODES:
            path = tmp_path / str(kind) / str(mode)
            path.mkdir() if kind == stat.S_IFDIR else path.touch()
    for text in thinned.some([*MODES, *random_modes(12)]):
        actions = read_mode(text)
        for kind in KINDS:
            there = tmp_path / str(kind)
            for mode in ALL_MODES:
                os.chmod(there / str(mode), mode)
            run_chmod(text, there)
            came = {entry.name: entry.stat().st_mode for entry in os.scandir(there)}
            ours = {str(m): Modes(actions, actions).changed(kind | m) for m in ALL_MODES}
            assert ours == came, text


def why_refused(text: str) -> str | None:
    try:
        read_mode(text)
    except ValueError as error:
        return str(error)
    return None


def test_what_chmod_refuses_is_refused(tmp_path: Path) -> None:
    rng = random.Random(2)
    file = tmp_path / "file"
    file.touch()
    texts = ["", "8", "17777", "u", "u+8", "g+ug", "g=rwu", "u=rw,", ",u+r", "a+7", "=x8", "u+r w"]
    texts += ["".join(rng.choices("ugo+-=rwX,07", k=rng.randrange(2, 6))) for _ in range(80)]
    refused = 0
    for text in texts:
        theirs = subprocess.run(["chmod", "--", text, file], capture_output=True, check=False)
        said = why_refused(text)
        refused += said is not None
        for_all = re.search("(^|,)[-+=]", text)  # but what the umask has
        assert theirs.returncode == 0 or said, text
        assert theirs.returncode or not said or for_all, text
    assert 40 < refused < len(texts)


def test_default_is_the_guides_bits() -> None:
    for mode in ALL_MODES:
        assert GUIDE.changed(stat.S_IFDIR | mode) == stat.S_IFDIR | mode | 0o2070
        assert GUIDE.changed(stat.S_IFREG | mode) == stat.S_IFREG | mode | 0o060


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("+w", "say for whom, as in a+w"),
        ("f:g+rw,=r", "say for whom"),
        ("g+q", "'g+q' is no mode of chmod's"),
        ("x:g+r", "is no mode of chmod's"),
        ("f:8", "is no mode of chmod's"),
        ("f:", "is no mode of chmod's"),
        ("17777", "modes end at 7777"),
        ("", "there is no mode in it"),
        ("g+r f:g+w", "there are two modes for files"),
        ("d:g=o,o=u", "if it is repeated"),
        ("f:g+X,u+x", "if it is repeated"),
        ("f:u+s", "set-id"),
        ("g+rwxs", "say d: for directories"),
        ("f:2660", "set-id"),
    ],
)
def test_mode_that_no_entry_could_comply_with_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        as_setting(text)
    assert why in str(refused.value)
    assert str(refused.value).startswith("--mode ")


def test_mode_that_is_refused_touches_nothing(program: Program, share: Path) -> None:
    before = attrs(share)
    ended = program("perms", "--group", GID, "--mode", "+w", share)
    assert (ended.status, ended.out, attrs(share)) == (2, "", before)
    assert not list(program.state.iterdir())


def test_header_is_what_it_was_unless_a_mode_is_given() -> None:
    for text, ids in ((GUIDE_TEXT, None), ("f:g=u", [NO_ID, GID, "f:g=u"])):
        for uid in (NO_ID, 7):
            settings = PermsSettings(GID, (), skip_links=False, cross=False, uid=uid, mode=text)
            stored = settings.as_dict()
            assert PermsSettings.from_dict(stored) == settings
            assert stored.get("ids") == (
                [uid, *ids[1:]] if ids else None if uid == NO_ID else [uid, GID]
            )
    assert as_setting(" f:g+rw   d:g=rwxs,u+r ") == "f:g+rw d:g=rwxs,u+r"
    assert as_setting("f:g+rw d:g+rwxs") == as_setting("f:g+wr d:g+xrws") == GUIDE_TEXT


# -- entries


USED = [
    "d:g=rwxs,o= f:g=u,o=",
    "f:a-s,o-rwx d:g-s,o=",
    "g=rX",
    "d:+02075",
    "f:640",
    "a=rX",
    "f:g+x",
]


def fill(share: Path) -> None:
    """Make a file and a directory of each mode."""
    for kind in ("d", "f"):
        (share / kind).mkdir()
    for mode in ALL_MODES:
        directory = share / "d" / str(mode)
        directory.mkdir()
        directory.chmod(mode)
        put(share / "f" / str(mode), mode, GID if mode % 3 else 0)


def forward(backend: Backend, policy: GroupPolicy) -> list[tuple[bytes, int, int, int]]:
    """Look at a share and change it; return the changes."""
    seen = look(backend, policy=policy)
    changes: list[tuple[bytes, int, int, int]] = []
    for packed in seen.changes:
        assert set(backend.apply(packed, Verb.FORWARD).outcomes) <= {0}
        changes += [(c.path, c.mode, c.new_mode, c.flags) for c in read_changes(packed)]
    return changes


@pytest.mark.privileged
@pytest.mark.slow
@pytest.mark.parametrize("text", USED[:3])
def test_backends_make_the_same_of_each_mode(share: Path, text: str) -> None:
    need_native()
    policy = GroupPolicy(GID, read_modes(text))
    found = []
    for number, backend in enumerate(both()):
        (share / str(number)).mkdir()
        fill(share / str(number))
        before = attrs(share / str(number))
        with opened(share / str(number), backend) as works:
            found.append(sorted(forward(works, policy), key=str))
            assert not look(works, policy=policy).changes
        after = attrs(share / str(number))
        assert after == {path: given(then, policy) for path, then in before.items()}
    assert found[0] == found[1]
    made(len(found[0]) > 2000, "entries that must change")


def given(before: Attrs, policy: GroupPolicy) -> Attrs:
    """Return what chmod and then chgrp make of an entry, if one of them is needed."""
    mode, uid, gid = before
    changed = policy.modes.changed(mode)
    return before if (changed, gid) == (mode, GID) else (stripped(changed), uid, GID)


def test_table_for_c_says_what_the_policy_says() -> None:
    modes = read_modes("d:g=rwxs,o= f:g=u,o=")
    table = memoryview(packed_modes(modes)).cast("H")
    assert len(table) == 2 * 4096
    for at, kind in enumerate(KINDS):
        for mode in ALL_MODES:
            entry = table[at * 4096 + mode]
            policy = GroupPolicy(GID, modes)
            assert entry & 0o7777 == stat.S_IMODE(policy.wanted(kind | mode))
            assert bool(entry & 0x8000) == policy.complies(kind | mode, 0, GID)


def guides_way(share: Path, text: str) -> None:
    """Change a share by find, chmod and chgrp."""
    kinds = {part[0]: part[2:] for part in text.split() if part[1] == ":"}
    for kind in "df":
        mode = kinds.get(kind, text if ":" not in text else "a+")
        for command in (("chmod", "--", mode), ("chgrp", str(GID))):
            words = ["find", share, "-depth", "-type", kind, "-exec", *command, "{}", "+"]
            subprocess.run(words, check=True)


@pytest.mark.privileged
@pytest.mark.parametrize("text", USED)
def test_end_state_is_that_of_chmod_and_chgrp_and_goes_back(
    program: Program, share: Path, text: str
) -> None:
    odd_tree(share)
    policy = GroupPolicy(GID, read_modes(text))
    before = attrs(share)
    options = ("--group", GID, "--mode", text)
    count = program("perms", "--json", "-n", *options, share).summary["changed"]
    assert attrs(share) == before
    assert program("verify", "--json", *options, share).summary["drift"] == count
    ended = program("perms", "--json", *options, share)
    assert (ended.status, ended.summary["changed"]) == (0, count)
    ours = attrs(share)
    assert program("verify", *options, share).status == 0
    off = program("undo", "--json").summary["skipped"]
    now = attrs(share)
    after = {path: given(then, policy) for path, then in before.items()}
    assert ours == after
    for path, (mode, uid, gid) in before.items():
        files_lost = 0 if stat.S_ISDIR(mode) else mode & ~after[path][0] & 0o6000
        assert now[path] == (mode & ~files_lost, uid, gid), path
        if not stat.S_ISLNK(mode):
            put(share / os.fsdecode(path), stat.S_IMODE(mode), gid, uid=uid)
    assert bool(off) == (now != before)
    guides_way(share, text)
    theirs = attrs(share)
    # What complied was not touched; chgrp takes its set-id bits all the same.
    assert {p: a for p, a in ours.items() if p not in before or a != before[p]} == {
        p: theirs[p] for p in ours if ours[p] != before[p]
    }


@pytest.mark.privileged
def test_commands_of_the_summary_have_the_mode(program: Program, share: Path) -> None:
    put(share / "file", 0o644)
    out = program("perms", "--group", GID, "--mode", "f:g=u,o=", share).out
    assert f"verify --group {GID} --mode f:g=u,o= " in out
    with reopened(journal_of(program.state)) as journal:
        assert journal.read_header().settings["ids"] == [NO_ID, GID, "f:g=u,o="]
    ended = program("perms", "--group", GID, "--mode", "f:g=u", "-n", "--list", "-q", share)
    assert "0660" not in ended.out  # it complies
    out = program("perms", "--group", GID, "--mode", "d:g=rwxs f:g=r", "-n", share).out
    assert f"perms --group {GID} --mode 'd:g=rwxs f:g=r' " in out


def test_python_backend_reads_no_table(share: Path) -> None:
    with opened(share, PythonBackend) as backend:
        assert len(look(backend, policy=GroupPolicy(os.getgid(), read_modes("d:0710"))).changes)
