"""What each topic finds that needs no walk: ok, warning and blocker."""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.check import accounts, acls, extension, mounted, squash
from archipmigrate.check.daemons import daemons
from archipmigrate.check.filesystem import filesystem
from archipmigrate.check.finding import Finding, Level
from archipmigrate.check.nfs import findings_of_mount
from archipmigrate.check.question import Question
from archipmigrate.check.runs import runs
from archipmigrate.check.site import Site, find_site
from archipmigrate.errors import UsageError
from archipmigrate.jobs.options import RunOptions
from archipmigrate.journal.runs import new_run
from archipmigrate.share import Mount, open_share
from archipmigrate.share.daemons import running_daemons
from tests.support.inprocess import Program
from tests.support.program import GID

pytestmark = pytest.mark.privileged
Topic = Callable[[Question], list[Finding]]


@pytest.fixture
def top(share: Path) -> Path:
    for name in ("blocks", "maps", "locks"):
        (share / name).mkdir()
    for name in ("blocks", "maps"):
        (share / name / "ab").mkdir(mode=0o700)
    return share


def site_of(top: Path, user: str = "0", group: str = str(GID)) -> Site:
    return Site(str(top / "blocks"), str(top / "maps"), str(top / "locks"), user, group)


def ask(topic: Callable[[Question], object], question: Question) -> list[Finding]:
    return list(topic(question))  # type: ignore[call-overload, no-any-return]


def levels(topic: Callable[[Question], object], question: Question) -> list[str]:
    """Return the levels of a topic's findings; each that is not ok says what to do."""
    found = ask(topic, question)
    assert all(bool(f.todo) == (f.level is not Level.OK) for f in found), found
    return [f.level.word for f in found]


# -- sites


def test_site_is_that_of_the_directory_or_of_the_configuration(top: Path, tmp_path: Path) -> None:
    assert find_site(str(top)) == site_of(top, "archipelago", "archipelago")
    assert find_site(str(top), None, "0", "7") == site_of(top, "0", "7")
    config = tmp_path / "archipelago.conf"
    config.write_text(
        "[ARCHIPELAGO]\nUSER = root\nGROUP = root\n"
        f"[blockerb]\narchip_dir = {top}/blocks\n"
        f"[blockerm]\narchip_dir = {top}/maps\nlock_dir = {top}/locks\n"
    )
    site = find_site(None, config)
    assert (site.blocks, site.maps, site.locks) == tuple(site_of(top).directories.values())
    assert (site.user, site.configured) == ("archipelago", ("root", "root"))
    assert site.relocate() == f"archipmigrate relocate --config {config}"
    assert site.tops == [str(top)]


def test_command_line_that_names_no_site_is_a_usage_error(top: Path, tmp_path: Path) -> None:
    for path, config in (
        (str(top), tmp_path),
        (None, tmp_path / "none"),
        (str(top / "maps"), None),
    ):
        with pytest.raises(UsageError):
            find_site(path, config)
    with pytest.raises(UsageError, match="no host"):
        Question(site_of(top), hosts=["-oProxyCommand=x"])


@pytest.mark.parametrize(
    ("blocks", "maps", "tops"),
    [
        ("/srv/archip/blocks", "/srv/archip/maps", ["/srv/archip"]),
        ("/srv/blocks", "/srv/maps", ["/srv/blocks", "/srv/maps"]),
        ("/a/b/blocks", "/a/c/maps", ["/a/b/blocks", "/a/c/maps"]),
        ("/mnt/a/blocks", "/srv/b/maps", ["/mnt/a/blocks", "/srv/b/maps"]),
    ],
)
def test_perms_is_for_what_holds_blocks_and_maps_alone(
    blocks: str, maps: str, tops: list[str]
) -> None:
    assert Site(blocks, maps).tops == tops


# -- mounts


def test_directories_are_there_and_not_empty(top: Path) -> None:
    question = Question(site_of(top))
    assert levels(mounted.mounted, question) == ["ok"] * 3  # the locks may be empty
    (top / "maps" / "ab").rmdir()
    assert levels(mounted.mounted, question) == ["ok", "blocker", "ok"]
    (top / "maps").rmdir()
    assert levels(mounted.mounted, question) == ["ok", "blocker", "ok"]
    (top / "maps").touch()
    assert levels(mounted.mounted, question) == ["ok", "blocker", "ok"]


def test_links_lead_out_of_the_share(top: Path) -> None:
    question = Question(site_of(top))
    assert levels(filesystem, question) == ["ok"]
    (top / "maps").rename(top / "elsewhere")
    (top / "maps").symlink_to("elsewhere")
    assert levels(filesystem, question) == ["warning"]
    (top / "blocks" / "cd").symlink_to("/etc")
    assert levels(filesystem, question) == ["blocker", "warning"]


def test_mounts_lead_out_of_the_share(top: Path, mount: Callable[..., Path]) -> None:
    question = Question(site_of(top))
    mount(top / "blocks" / "ab", "-t", "tmpfs", "tmpfs")
    assert levels(filesystem, question) == ["blocker"]
    mount(top / "locks", "-t", "tmpfs", "tmpfs")
    (shown,) = [f for f in ask(filesystem, question) if f.level is Level.WARNING]
    assert shown.data["filesystems"] == [["blocks", "maps"], ["locks"]]


@pytest.mark.parametrize(
    ("fstype", "options", "due"),
    [
        ("ext4", "rw,relatime", ["ok"]),
        ("ext4", "ro,relatime", ["blocker", "ok"]),
        ("nfs4", "rw,vers=4.2,hard,proto=tcp,sec=sys", ["ok"]),
        ("nfs", "rw,vers=3,soft,proto=tcp,sec=sys", ["warning", "ok"]),
        ("nfs4", "ro,vers=4.1,hard,sec=krb5", ["blocker", "warning", "ok"]),
    ],
)
def test_options_of_the_mount(fstype: str, options: str, due: list[str]) -> None:
    found = list(findings_of_mount("maps", Mount(fstype, "server:/srv", options, "/srv")))
    assert [f.level.word for f in found] == due


# -- the probe


def test_probe_leaves_nothing(top: Path) -> None:
    question = Question(site_of(top))
    before = [sorted(os.listdir(top / name)) for name in ("blocks", "maps", "locks")]
    assert levels(squash.squash, question) == ["ok"]
    assert [sorted(os.listdir(top / name)) for name in ("blocks", "maps", "locks")] == before
    assert levels(squash.squash, Question(site_of(top), probe=False)) == []


def test_squashed_root_is_a_blocker(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(site_of(top))

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    assert levels(squash.squash, question) == ["blocker"]
    monkeypatch.setattr(os, "fchown", lambda *_: None)  # all_squash: said to be done
    (found,) = ask(squash.squash, question)
    assert found.level is Level.BLOCKER
    assert "became 0:0 2770" in found.text
    assert os.listdir(top / "blocks") == ["ab"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert levels(squash.squash, question) == ["warning"]


def test_probe_that_a_kill_left_is_removed_by_a_later_one(top: Path) -> None:
    old, new = (top / "blocks" / f"{squash.PROBE}{name}" for name in ("old", "new"))
    for path in (old, new):
        path.mkdir()
    os.utime(old, (time.time() - 7200,) * 2)
    assert levels(squash.squash, Question(site_of(top))) == ["ok"]
    assert (old.exists(), new.exists()) == (False, True)


# -- accounts


def test_user_and_group_are_looked_up(top: Path) -> None:
    for topic, due in ((accounts.user, {"uid": 0}), (accounts.group, {"gid": 0})):
        (found,) = ask(topic, Question(site_of(top, "root", "root")))
        assert due.items() <= found.data.items()
        assert levels(topic, Question(site_of(top, "nobody-here", "nobody-here"))) == ["blocker"]
    site = Site("/b", "/m", user="root", configured=("root", "root"))
    assert levels(accounts.user, Question(site)) == ["ok", "warning"]


SSH = """\
#!/bin/sh
for last; do :; done
host=$5
test "$1 $2 $3" = "-o BatchMode=yes -o" || exit 99
case $host in
same) echo root:x:0:0::/:/bin/sh; echo --; echo root:x:0: ;;
other) echo root:x:17:0::/:/bin/sh; echo --; echo root:x:0: ;;
none) echo --; echo root:x:0: ;;
odd) echo hello ;;
run) echo Welcome >&2; sh -c "$last" ;;
*) echo "ssh: connect to host $host port 22: No route to host" >&2; exit 255 ;;
esac
"""


def test_numbers_on_other_nodes_are_compared(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    names = ["same", "other", "none", "odd", "run", "away"]
    question = Question(site_of(top, "root", "root"), hosts=names)
    found = ask(accounts.hosts, question)
    due = ["ok", "blocker", "blocker", "warning", "ok", "warning"]
    assert [f.level.word for f in found] == due
    assert "has user root as 17, this host as 0" in found[1].text
    assert "has no user root" in found[2].text
    assert "No route to host" in found[5].text
    hostile = Question(site_of(top, "$(touch x)", "root"), hosts=["run"])
    assert ask(accounts.hosts, hostile)[0].data["uid"] is None
    assert not Path("x").exists()


def test_node_that_does_not_answer_is_no_end(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert levels(accounts.hosts, Question(site_of(top), hosts=["a", "b"])) == ["warning"] * 2


# -- what runs here, and what is unfinished


def test_daemons_of_this_host(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_daemons, "__defaults__", (tmp_path,))
    question = Question(site_of(top))
    assert levels(daemons, question) == ["ok"]
    for pid, name, due in (("1", "archip-filed", "ok"), ("2", "st-vlmcd", "blocker")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
        assert levels(daemons, question) == [due]


def test_unfinished_and_unreadable_runs(top: Path, state: Path) -> None:
    question = Question(site_of(top), options=RunOptions(state=state))
    assert levels(runs, question) == ["ok"]
    share = open_share(str(top))
    new_run(state, "perms", share, {}, {}, share.places).close()
    share.close()
    (found,) = ask(runs, question)
    assert found.level is Level.WARNING
    assert "archipmigrate resume perms-" in found.todo
    (state / "perms-20260101T000000-abcd.journal").write_bytes(b"no journal" * 100)
    assert levels(runs, question) == ["warning", "warning"]


def test_extension_that_is_missing_is_a_warning(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for built, due in ((True, "ok"), (False, "warning")):
        monkeypatch.setattr(extension, "BUILT", built)
        assert levels(extension.extension, Question(site_of(top))) == [due]


# -- owners and ACLs


def test_owners_of_a_sample(top: Path) -> None:
    assert levels(acls.owners, Question(site_of(top, "0"))) == ["ok"]
    question = Question(site_of(top, "1234"))
    assert levels(acls.owners, question) == ["warning"]
    for path in (top / name for name in ("blocks", "maps", "locks", "blocks/ab", "maps/ab")):
        os.chown(path, 0, GID)
        path.chmod(0o770)
    assert levels(acls.owners, question) == ["ok"]


def acl(group: int, mask: int) -> bytes:
    """Pack an access ACL with an entry for user 4711."""
    entries = [(0x01, 7, -1), (0x02, 7, 4711), (0x04, group, -1), (0x10, mask, -1), (0x20, 0, -1)]
    packed = struct.pack("<I", 2)
    return packed + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def test_acls_of_a_sample(top: Path) -> None:
    question = Question(site_of(top))
    assert levels(acls.acls, question) == ["ok"]
    path = top / "blocks" / "ab"
    try:
        os.setxattr(path, acls.ACCESS, acl(7, 7))
    except OSError as error:
        pytest.skip(f"no ACLs on this filesystem: {error}")
    assert levels(acls.acls, question) == ["ok"]
    for group, mask in ((0, 7), (7, 5)):
        os.setxattr(path, acls.ACCESS, acl(group, mask))
        assert levels(acls.acls, question) == ["warning"]
    os.setxattr(path, acls.DEFAULT, acl(7, 7))
    assert levels(acls.acls, question) == ["warning", "warning"]


def test_command_without_walk_is_one_page(program: Program, top: Path) -> None:
    words = ("check", "--no-walk", "--owner", "root", "--group", GID)
    ended = program(*words, top)
    assert ended.status == 0, ended.out
    last = ended.out.splitlines()[-1]
    assert last == "ready: nothing is left to do (0 blockers, 0 warnings, 14 ok)"
    assert program(*words, "-q", top).out == ""
    (top / "blocks" / "cd").symlink_to("/etc")
    ended = program(*words, "-q", top)
    assert ended.status == 5
    assert [line.split()[0] for line in ended.out.splitlines()] == ["blocker", "->"]
    assert stat.S_ISLNK((top / "blocks" / "cd").lstat().st_mode)
