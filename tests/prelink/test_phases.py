"""What each phase of `relocate --prelink` does, and what it refuses."""

from __future__ import annotations

import errno
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archipmigrate.relocate.kind import EMPTY_STAY
from archipmigrate.tree import rename
from tests.support.inprocess import Program
from tests.support.old_shares import block_name, old_place, put
from tests.support.prelinked import STEP, Site
from tests.support.program import GID

pytestmark = pytest.mark.privileged
VOLUMES = ("volume-one", "volume-two", "volume-three")
NUMBERS = range(3)


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


@pytest.fixture
def site(program: Program, tmp_path: Path) -> Site:
    """A share with three volumes of three blocks."""
    site = Site(tmp_path / "share", program)
    site.blocks.mkdir(parents=True)
    site.maps.mkdir()
    for volume in VOLUMES:
        for number in NUMBERS:
            site.write(volume, number, f"{volume} {number}".encode() * 50)
        site.write_map(volume, NUMBERS)
        put(site.maps / old_place(f"archip_{volume}_lock"), b"", 0o700)
    time.sleep(STEP)
    return site


def at_linked(site: Site) -> Site:
    """Take a share to `linked`."""
    assert site.link().status == 0
    ended = site.switch()
    assert (ended.status, ended.summary["phase"]) == (0, "linked"), ended.out + ended.err
    return site


def are_linked(site: Site, volume: str, numbers: range = NUMBERS) -> bool:
    return all(
        site.new(volume, n).exists() and site.new(volume, n).samefile(site.old(volume, n))
        for n in numbers
    )


# -- phase 1


def test_phase_1_gives_blocks_second_names_and_leaves_maps(site: Site) -> None:
    ended = site.link()
    assert (ended.status, ended.summary["linked"], ended.summary["phase"]) == (0, 9, "link")
    assert all(are_linked(site, volume) for volume in VOLUMES)
    assert all((site.maps / old_place(f"archip_{v}")).stat().st_nlink == 1 for v in VOLUMES)


def test_phase_1_again_links_what_is_new(site: Site) -> None:
    site.link()
    site.write("volume-four", 0, b"new")
    ended = site.link()
    assert (ended.status, ended.summary["linked"]) == (0, 10)
    assert are_linked(site, "volume-four", range(1))


def test_phase_1_across_filesystems_is_refused_with_2(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", link)
    assert site.link().status == 2
    assert not any(site.new(v, n).exists() for v in VOLUMES for n in NUMBERS)


def test_dry_run_changes_nothing(site: Site) -> None:
    before = sorted(site.top.rglob("*"))
    assert site.relocate("--prelink", "-n").summary["changed"] == 9
    assert sorted(site.top.rglob("*")) == before


def commands_in(text: str) -> list[list[str]]:
    """Return the commands that a message names, to be pasted."""
    found = re.findall("`archipmigrate ([^`]*)`", text)
    return [shlex.split(words) for words in found]


def test_other_jobs_wait_until_all_is_linked(site: Site) -> None:
    site.link()
    for ended in (
        site.call.perms(site.top),  # type: ignore[attr-defined]
        site.call("mapfiles", "--maps", site.maps, "--v03-stopped"),
        site.relocate("--v03-stopped"),
    ):
        assert ended.status == 1
        assert "phase `link`" in ended.err
    assert site.drop().status == 1
    [switch] = commands_in(ended.err)
    assert site.call(*switch).status == 0
    ended = site.relocate("--v03-stopped")
    assert ended.status == 1
    assert [words[-1] for words in commands_in(ended.err)] == ["--drop-old", "--v04-stopped"]
    assert all(words[1:5:2] == ["--blocks", "--maps"] for words in commands_in(ended.err))
    assert site.call.perms(site.top).status == 0  # type: ignore[attr-defined]


def test_undo_of_phase_1_removes_second_names_and_keeps_what_v03_deleted(site: Site) -> None:
    site.link()
    site.delete("volume-two", NUMBERS)
    ended = site.call("undo")
    assert ended.status == 0, ended.out
    assert f"--blocks {site.blocks} --maps {site.maps}" in ended.out.partition(EMPTY_STAY)[2]
    assert all(site.old("volume-one", n).stat().st_nlink == 1 for n in NUMBERS)
    assert not any(site.new(v, n).exists() for v in VOLUMES for n in NUMBERS)
    assert len(site.kept("deleted-v03")) == 3


def test_options_that_copy_are_refused(site: Site) -> None:
    for options in (["--copy"], ["--pithos-migrate"], ["--pithos-blocks", site.blocks]):
        assert site.relocate("--prelink", *options).status == 2


# -- phases 2 and 3


def test_switch_without_phase_1_does_all_of_it(site: Site) -> None:
    ended = site.switch()
    assert (ended.status, ended.summary["linked"], ended.summary["phase"]) == (0, 9, "linked")
    assert all(site.served_by_v04(v) == site.served_by_v04(v) for v in VOLUMES)


def exercised(site: Site) -> dict[str, bytes]:
    """Do, after phase 1, what v0.3 does; return what it serves."""
    site.link()
    site.write("volume-one", 0, b"changed in place")
    site.write("volume-one", 3, b"a new block")
    site.write_map("volume-one", range(4))
    site.delete("volume-two", NUMBERS)
    site.delete("volume-three", NUMBERS)
    site.write("volume-three", 0, b"made again")
    site.write_map("volume-three", range(1))
    return {volume: site.served_by_v03(volume) for volume in ("volume-one", "volume-three")}


def without_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the filesystem do as NFS does."""
    monkeypatch.setattr(rename, "_rename", lambda *_: False)


@pytest.mark.parametrize("is_nfs", [False, True])
def test_switch_sees_to_what_is_new_made_again_and_deleted(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_nfs: bool
) -> None:
    served = exercised(site)
    if is_nfs:
        without_renames(monkeypatch)
    ended = site.switch()
    assert (ended.status, ended.summary["phase"]) == (0, "linked"), ended.out
    assert {volume: site.served_by_v04(volume) for volume in served} == served
    assert are_linked(site, "volume-one", range(4))
    assert are_linked(site, "volume-three", range(1))
    assert len(site.kept("deleted-v03")) == 5
    (kept,) = site.kept("remade")
    assert kept.read_bytes() == b"volume-three 0" * 50
    assert not list(site.blocks.rglob("*.archipmigrate"))
    counts = ended.summary["classes"]
    assert (counts["deleted_v03"], counts["remade"], counts["lock"]) == (5, 1, 3)


@pytest.mark.parametrize("deed", ["deleted", "made again", "made again empty"])
def test_object_that_was_written_after_it_was_deleted_is_a_conflict(site: Site, deed: str) -> None:
    site.link()
    fd = os.open(site.old("volume-two", 1), os.O_WRONLY)  # another node's
    site.old("volume-two", 1).unlink()
    time.sleep(STEP)
    if deed != "made again empty":
        os.write(fd, b"by another node")
    os.close(fd)
    if deed != "deleted":
        put(site.old("volume-two", 1), b"" if deed.endswith("empty") else b"by this node")
    kept = site.new("volume-two", 1).stat().st_ino
    ended = site.switch()
    assert (ended.status, ended.summary["phase"]) == (3, "linked"), ended.out
    assert ended.summary["classes"]["conflict"] == 1
    assert site.new("volume-two", 1).stat().st_ino == kept
    assert site.old("volume-two", 1).exists() == (deed != "deleted")
    assert site.drop().status == 3
    assert site.old("volume-two", 1).exists() == (deed != "deleted")


def test_deleted_object_that_a_live_map_names_is_missing(site: Site) -> None:
    site.link()
    site.old("volume-one", 2).unlink()
    ended = site.switch()
    assert (ended.status, ended.summary["classes"]["missing"]) == (3, 1)
    assert not site.new("volume-one", 2).exists()


def test_quiet_switch_still_names_what_is_missing(site: Site) -> None:
    site.link()
    site.old("volume-one", 2).unlink()
    place = ("--blocks", site.blocks, "--maps", site.maps)
    ended = site.call("relocate", *place, "--prelink", "--v03-stopped", "--quiet")
    assert (ended.status, len(ended.out.splitlines())) == (3, 1), ended.out
    assert ended.out.startswith("missing: ")


def test_switch_copies_maps_before_they_move(site: Site) -> None:
    contents = {v: (site.maps / old_place(f"archip_{v}")).read_bytes() for v in VOLUMES}
    at_linked(site)
    copies = {path.name[7:]: path for path in site.maps.glob(".archipmigrate-*/maps/*/*")}
    assert {volume: path.read_bytes() for volume, path in copies.items()} == contents
    assert all(path.stat().st_nlink == 1 for path in copies.values())
    assert not any((site.maps / old_place(f"archip_{volume}")).exists() for volume in VOLUMES)


def test_status_and_text_name_the_milestone(site: Site) -> None:
    at_linked(site)
    assert "phase `linked`" in site.call("status").out
    assert site.call("status", "--json").objects[0]["phase"] == "linked"
    ended = site.call("relocate", "--prelink", "--blocks", site.blocks, "--maps", site.maps)
    assert ended.status == 1
    assert "--drop-old" in ended.err


def test_forget_refuses_a_run_that_rests(site: Site) -> None:
    run = site.link().summary["run"]
    assert site.call("forget", run).status == 2
    assert site.call("forget", run, "--force").status == 0


# -- phase 4


def test_old_names_go_and_v04_serves_the_same(site: Site) -> None:
    at_linked(site)
    served = {volume: site.served_by_v04(volume) for volume in VOLUMES}
    assert site.call.perms(site.top).status == 0  # type: ignore[attr-defined]
    ended = site.drop()
    assert (ended.status, ended.summary["phase"]) == (0, "dropped"), ended.out
    assert {volume: site.served_by_v04(volume) for volume in VOLUMES} == served
    assert not any(site.old(v, n).exists() for v in VOLUMES for n in NUMBERS)
    assert site.relocate("--v03-stopped").status == 0


DEEDS: dict[str, Callable[[Site], object]] = {
    "empty block": lambda s: put(s.old("volume-nine", 0), b""),
    "second block": lambda s: s.make_again("volume-one", 0, b"2"),
    "removed": lambda s: s.old("volume-one", 0).unlink(),
    "placeholder": lambda s: put(s.maps / old_place("archip_volume-one"), b""),
    "lock": lambda s: put(s.maps / old_place("archip_volume-nine_lock"), b"", 0o700),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_nothing_goes_if_v03_lives(site: Site, deed: str) -> None:
    at_linked(site)
    DEEDS[deed](site)
    ended = site.drop()
    assert (ended.status, ended.summary["phase"]) == (1, "linked"), ended.out
    assert "v0.3 still runs" in ended.out + ended.err
    assert all(site.old("volume-two", n).exists() for n in NUMBERS)


def test_last_name_of_what_v04_deleted_is_kept_and_listed_apart(site: Site) -> None:
    exercised(site)
    site.switch()
    for number in range(4):
        site.new("volume-one", number).unlink()
    ended = site.drop()
    assert ended.status == 0, ended.out
    assert len(site.kept("deleted-v04")) == 4
    assert len(site.kept("deleted-v03")) == 5
    listed = {(o["class"], o["reason"]) for o in ended.objects if o.get("class") == "deleted-v04"}
    assert (
        "deleted-v04",
        "11 bytes of a block that v0.4 has deleted since `linked`: kept aside",
    ) in listed
    pruned = site.relocate("--prune-deleted")
    assert (pruned.status, pruned.summary["pruned"]) == (0, 10)
    assert site.kept("*") == []


# -- the way back


@pytest.mark.parametrize("deed", ["nothing", "removed", "rewritten", "placeholder"])
@pytest.mark.parametrize(("dropped", "is_nfs"), [(False, False), (True, True)])
def test_way_back_gives_v03_its_maps_and_objects(
    site: Site, monkeypatch: pytest.MonkeyPatch, deed: str, dropped: bool, is_nfs: bool
) -> None:
    served = exercised(site)
    if is_nfs:
        without_renames(monkeypatch)
    site.switch()
    if dropped:
        site.drop()
    for path in list(site.maps.glob("??/??/??/archip_*[!k]")):
        if deed == "removed":
            path.unlink()
        elif deed == "rewritten":
            path.write_bytes(b"AMF." + bytes(200))
        elif deed == "placeholder":
            put(site.maps / old_place(path.name), b"")
    ended = site.back()
    assert (ended.status, ended.summary["phase"]) == (0, "link"), ended.out + ended.err
    assert {volume: site.served_by_v03(volume) for volume in served} == served
    assert not site.old("volume-two", 0).exists()
    assert site.back().status == 1
    assert site.switch().status == 0
    assert {volume: site.served_by_v04(volume) for volume in served} == served


def test_way_back_needs_v04_stopped_and_a_run(site: Site) -> None:
    assert site.relocate("--back").status == 1
    assert site.back().status == 1


def test_undo_is_refused_once_linked_and_works_after_the_way_back(site: Site) -> None:
    at_linked(site)
    ended = site.call("undo")
    assert (ended.status, "--back" in ended.err) == (1, True)
    site.back()
    assert site.call("undo").status == 0
    assert not any(site.new(v, n).exists() for v in VOLUMES for n in NUMBERS)


def test_what_v04_wrote_into_objects_is_served_after_the_way_back(site: Site) -> None:
    at_linked(site)
    site.new("volume-one", 0).write_bytes(b"by v0.4")
    site.back()
    assert site.served_by_v03("volume-one").startswith(b"by v0.4")


# -- permissions


def test_pair_is_no_hard_link_that_perms_skips(site: Site) -> None:
    at_linked(site)
    outside = put(site.top.parent / "outside", b"of root")
    third = site.new("volume-one", 0)
    os.link(third, site.top.parent / "third")
    fake = site.blocks / old_place(block_name("volume-ten", 0))
    put(fake, b"").unlink()
    os.link(outside, fake)
    ended = site.call.perms(site.top, "--hard-links", "skip")  # type: ignore[attr-defined]
    assert ended.status == 0, ended.out + ended.err
    counts = [ended.summary[name] for name in ("skipped", "hard_linked", "failed")]
    assert counts == [3, 3, 0]  # both names of the one with a third, and the one outside
    assert (outside.stat().st_gid, third.stat().st_gid) == (0, 0)
    assert all(site.new("volume-two", n).stat().st_gid == GID for n in NUMBERS)
    again = site.call.perms(site.top, "--hard-links", "skip")  # type: ignore[attr-defined]
    assert again.summary["changed"] == 0
    assert site.call("undo").status == 0
    assert all(site.new("volume-two", n).stat().st_gid == 0 for n in NUMBERS)


# -- what a check says meanwhile


def test_check_tells_pairs_from_other_links(site: Site, program: Program, tmp_path: Path) -> None:
    def links() -> tuple[str, int]:
        words = ("--no-probe", "--owner", "root", "--group", GID)
        ended = program("check", "--json", *words, site.top)
        [found] = [o for o in ended.objects if o.get("topic") == "links"]
        return str(found["level"]), int(found["data"]["hard_linked"])

    site.link()
    assert links() == ("ok", 0)
    (tmp_path / "outside").hardlink_to(site.old("volume-one", 0))
    assert links() == ("warning", 2)  # its two names in the share


def test_check_names_the_command_that_each_phase_takes(site: Site, program: Program) -> None:
    def places() -> dict[str, str]:
        ended = program(
            "check", "--json", "--no-probe", "--owner", "root", "--group", GID, site.top
        )
        found = [o for o in ended.objects if o.get("topic") == "places" and o["todo"]]
        return {str(o["level"]): str(o["todo"]) for o in found}

    asked = f"--blocks {site.blocks} --maps {site.maps}"
    state = f"--state {program.state}"
    assert places()["blocker"].endswith(f"relocate {asked} --v03-stopped {state}")
    assert site.link().status == 0
    assert places()["blocker"].endswith(f"relocate {asked} --prelink --v03-stopped {state}")
    assert site.switch().status == 0
    drop = f"archipmigrate relocate {asked} --drop-old {state}"
    assert places() == {"warning": f"perms, then start v0.4, then, while it runs: {drop}"}
    assert site.drop().status == 0
    assert places() == {}
