"""The share that v0.3.5 left: which steps remain before, after each step, and at the end."""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path

import pytest

from archipmigrate.maps.format.v1 import OBJECT_SIZE
from tests.config.real_readers import FILES_V03, assign, both
from tests.support.inprocess import Program
from tests.support.v03_share import SHORT, extract_v03

pytestmark = pytest.mark.privileged

OWNER = "daemon"  # a user and a group of every Debian
ALL = [
    "mend", "numbers", "open", "drain", "evacuate", "stop-v03", "packages", "config", "record",
    "relocate", "perms", "owner", "lock-dir", "locks", "mapfiles", "ready", "start",
    "startup", "undrain", "pithos-conflicts", "pithos", "remove-old",
]  # fmt: skip


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


class SiteUnderWay:
    """A node with the share, its two configurations, and the program."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.top = extract_v03(directory / "share")
        for name, where in (("data", "blocks"), ("maps", "maps")):
            shutil.copytree(self.top / "pithos" / name, self.top / where, dirs_exist_ok=True)
        shutil.rmtree(self.top / "pithos")
        self.old, self.config = directory / "default", directory / "archipelago.conf"
        text = FILES_V03.replace("/srv/archip", str(self.top))
        self.old.write_text(both(assign("PITHOS", '""'), assign("PITHOSMAPS", '""'))(text))

    def steps(self, *words: object) -> list[dict[str, object]]:
        """Return the steps that remain."""
        ended = self.program(
            "guide", "--json", "--owner", OWNER, "--group", OWNER, "--hosts", "node1,node2",
            "--config", self.config, "--v03-config", self.old, *words,
        )  # fmt: skip
        steps = [thing for thing in ended.objects if thing["type"] == "step"]
        assert ended.status == (4 if steps else 0), ended.err
        assert ended.summary["steps"] == len(steps)
        return steps

    def by_path(self) -> list[str]:
        """Return the keys of the steps for the share's directory alone."""
        words = ("guide", "--json", "--owner", OWNER, "--group", OWNER, self.top)
        return [str(o["key"]) for o in self.program(*words).objects if o["type"] == "step"]

    def keys(self, *words: object) -> list[str]:
        """Return the keys of these steps, each once where it follows itself."""
        return [key for key, _ in groupby(str(step["key"]) for step in self.steps(*words))]

    def does(self, *words: object) -> None:
        """Run a command of the program that has to work."""
        ended = self.program(*words)
        assert ended.status == 0, (ended.out, ended.err)


@pytest.fixture
def site(program: Program, tmp_path: Path) -> SiteUnderWay:
    """The share as v0.3.5 left it, with Pithos' objects below the blockers' directories."""
    return SiteUnderWay(program, tmp_path)


def without(*done: str) -> list[str]:
    return [key for key in ALL if key not in done]


def test_steps_vanish_one_after_the_other_until_nothing_is_left(
    site: SiteUnderWay, tmp_path: Path
) -> None:
    places = ("--config", site.config)
    assert site.keys() == ALL

    for path in [p for p in (site.top / "maps").rglob("*") if p.name.startswith(SHORT)]:
        path.unlink()  # copied to another name
    assert site.keys() == without("mend")

    site.does("config", "convert", site.old, "-o", site.config)
    assert site.keys() == without("mend", "config")

    site.does("relocate", *places, "--v03-stopped")
    stopped = ("numbers", "open", "drain", "evacuate", "stop-v03", "record", "packages")
    done = ["mend", "config", "relocate", *stopped]
    assert site.keys() == without(*done)

    site.does("perms", "--group", OWNER, site.top)
    assert site.keys() == without(*done, "perms")

    site.does("config", "set", *places, f"USER={OWNER}", f"GROUP={OWNER}")
    done += ["perms", "owner"]
    assert site.keys() == without(*done)

    site.does("locks", "--adopt", "--locks", site.top / "locks", "--owner", OWNER, "--group", OWNER)
    site.does("config", "set", *places, f"lock_dir={site.top}/locks")
    done += ["lock-dir"]
    assert site.keys() == without(*done)

    site.does("locks", *places, "--clean", "--v03-stopped")
    done += ["locks"]
    assert site.keys() == without(*done)

    sizes = tmp_path / "sizes.csv"
    v0 = [path for path in (site.top / "maps").rglob("*") if len(path.name) == 64]
    sizes.write_text("".join(f"{p.name},{p.stat().st_size // 32 * OBJECT_SIZE}\n" for p in v0))
    site.does("mapfiles", *places, "--v03-stopped", "--sizes", sizes)
    done += ["mapfiles"]
    assert site.keys() == without(*done)

    site.does("config", "set", *places, "pithos_migrate=True")
    assert site.keys() == ["remove-old"]

    site.old.unlink()
    assert site.keys() == []


def test_steps_are_those_of_each_node_with_commands_that_name_it(site: SiteUnderWay) -> None:
    steps, state = site.steps(), f"--state {site.program.state}"
    for key in ("stop-v03", "packages", "config", "owner", "start", "remove-old"):
        assert [step["where"] for step in steps if step["key"] == key] == ["node1", "node2"], key
    (drain,) = (step for step in steps if step["key"] == "drain")
    assert drain["commands"] == [
        "gnt-node modify --drained=yes node1", "gnt-node modify --drained=yes node2",
    ]  # fmt: skip
    (numbers,) = (step for step in steps if step["key"] == "numbers")
    assert numbers["commands"] == [f"archipmigrate check {site.top} --hosts node1,node2 {state}"]
    (perms,) = (step for step in steps if step["key"] == "perms")
    assert perms["commands"] == [f"archipmigrate perms --group {OWNER} {state} {site.top}"]
    (relocate,) = (step for step in steps if step["key"] == "relocate")
    command = f"archipmigrate relocate --config {site.config} --v03-stopped {state}"
    assert relocate["commands"] == [command]


def test_site_by_its_directory_has_no_steps_about_files_of_this_node(
    site: SiteUnderWay,
) -> None:
    pithos = {"pithos-conflicts", "pithos"}
    about_files = {"config", "owner", "lock-dir", "remove-old", "numbers", *pithos}
    assert site.by_path() == [key for key in ALL if key not in about_files]


def test_prelink_has_its_steps(site: SiteUnderWay) -> None:
    keys = site.keys("--prelink")
    assert keys.index("second-names") < keys.index("drain") < keys.index("relocate")
    assert keys.index("start") < keys.index("drop-old") < keys.index("remove-old")
    (relocate,) = (s for s in site.steps("--prelink") if s["key"] == "relocate")
    assert "--prelink --v03-stopped" in str(relocate["commands"])


def test_steps_follow_the_phases_of_prelink(site: SiteUnderWay) -> None:
    places = ("--config", site.config)
    site.does("config", "convert", site.old, "-o", site.config)
    site.does("relocate", *places, "--prelink")
    keys = site.keys()
    assert {"second-names", "stop-v03", "relocate", "drop-old"} <= set(keys)
    assert "run" not in keys

    site.does("relocate", *places, "--prelink", "--v03-stopped")
    keys = site.keys()
    assert not {"second-names", "stop-v03", "relocate", "run"} & set(keys)
    assert keys.index("perms") < keys.index("start") < keys.index("drop-old")
    by_path = site.by_path()
    assert by_path.index("perms") < by_path.index("start") < by_path.index("drop-old")

    site.does("perms", "--group", OWNER, site.top)
    site.does("relocate", *places, "--drop-old")
    assert not {"relocate", "perms", "drop-old", "run"} & set(site.keys())


def test_without_a_walk_everything_about_the_share_remains(site: SiteUnderWay) -> None:
    assert set(site.keys("--no-walk")) == set(
        without("mend", "locks", "pithos-conflicts", "pithos")
    )


def test_the_way_back_names_the_runs_the_last_one_first(
    site: SiteUnderWay, program: Program
) -> None:
    places = ("--blocks", site.top / "blocks", "--maps", site.top / "maps")
    site.does("relocate", *places, "--v03-stopped")
    site.does("perms", "--group", OWNER, site.top)
    ended = program("guide", "--json", "--owner", OWNER, "--group", OWNER, site.top)
    undos = [o["command"] for o in ended.objects if o["type"] == "back" and "undo" in o["command"]]
    assert [command.split()[2].partition("-")[0] for command in undos] == ["perms", "relocate"]
    for command in undos:
        assert program("undo", command.split()[2]).status == 0
    again = program("guide", "--json", "--owner", OWNER, "--group", OWNER, site.top)
    assert "relocate" in {o["key"] for o in again.objects if o["type"] == "step"}


def test_guide_executes_and_changes_nothing(site: SiteUnderWay, program: Program) -> None:
    def tree() -> dict[Path, tuple[int, ...]]:
        paths = [site.top, *site.top.rglob("*")]
        return {p: ((s := p.lstat()).st_ino, s.st_mode, s.st_gid, s.st_ctime_ns) for p in paths}

    was = tree()
    site.steps()
    assert tree() == was
    assert not list(program.state.glob("*.journal"))
