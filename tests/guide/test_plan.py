"""Sites that are not the golden one: RADOS, Synnefo, a node without configurations."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from archipmigrate.check.finding import Level, Topic, blocker, ok
from archipmigrate.check.site import Site
from archipmigrate.guide.facts import Facts, Node, read_node
from archipmigrate.guide.plan import FINALIZE, plan
from archipmigrate.guide.step import Step
from tests.config.real_readers import FILES_V03, PACKAGED_V03
from tests.support.inprocess import Program


@pytest.fixture
def backend() -> str:
    """There is one backend."""
    return "auto"


def keys(steps: list[Step]) -> list[str]:
    return [key for key, _ in groupby(step.key for step in steps)]


def done(site: Site) -> Facts:
    """Return facts of a share with which nothing is wrong."""
    findings = (
        ok(Topic.PLACES, "", current=1, pithos=0),
        ok(Topic.DRIFT, "", drift=0),
        ok(Topic.MAPS, "", versions={"v2": 1}),
        ok(Topic.USER, "", uid=7),
    )
    return Facts(site=site, findings=findings)


def test_nothing_is_left_of_a_share_that_is_ready() -> None:
    assert plan(done(Site("/srv/archip/blocks", "/srv/archip/maps"))) == []


@pytest.mark.parametrize("topic", [Topic.NFS, Topic.NAMES, Topic.ROOM])
def test_blocker_of_a_check_comes_first(topic: Topic) -> None:
    facts = done(Site("/srv/archip/blocks", "/srv/archip/maps"))
    found = blocker(topic, "is wrong", "mend it")
    assert found.level is Level.BLOCKER
    (step,) = plan(Facts(site=facts.site, findings=(*facts.findings, found)))
    assert (step.key, step.text, step.note) == ("mend", f"{topic}: is wrong", "mend it")


def test_share_of_synnefo_is_given_to_the_user_at_the_end() -> None:
    site = Site("/srv/pithos/data/blocks", "/srv/pithos/data/maps", group="synnefo")
    facts = done(site)
    assert plan(facts) == []
    owners = ok(Topic.OWNERS, "", owners={"33:7": 4, "7:7": 1})
    (step,) = plan(Facts(site=site, findings=(*facts.findings, owners)))
    assert step.commands == [
        "archipmigrate perms --owner archipelago --group synnefo /srv/pithos/data"
    ]
    ours = ok(Topic.OWNERS, "", owners={"7:7": 5})
    assert plan(Facts(site=site, findings=(*facts.findings, ours))) == []


def test_rados_is_upgraded_node_by_node_and_its_maps_by_the_tool_of_v04(tmp_path: Path) -> None:
    old = tmp_path / "default"
    old.write_text(PACKAGED_V03)
    node = read_node(tmp_path / "none", old)
    steps = plan(Facts(node, hosts=("node1", "node2")))
    each = [
        "drain", "open", "evacuate", "stop-v03", "packages", "config", "start", "remove-old",
        "undrain",
    ]  # fmt: skip
    assert keys(steps) == [*each, *each, "finalize"]
    assert steps[-1].commands == [FINALIZE]
    (first, second) = (step.commands[0] for step in steps if step.key == "packages")
    assert first == second == "apt-get install archipelago archipelago-ganeti archipelago-rados"


def test_rados_needs_no_share(program: Program, tmp_path: Path) -> None:
    old, config = tmp_path / "default", tmp_path / "archipelago.conf"
    old.write_text(PACKAGED_V03)
    program("config", "convert", old, "-o", config)
    ended = program("guide", "--json", "--config", config, "--v03-config", old)
    assert ended.status == 4
    assert ended.objects[-2]["key"] == "finalize"
    refused = program("mapfiles", "-n", "--config", config)
    assert refused.status == 2
    assert "finalize_upgrade_0.4" in refused.err


def test_configuration_of_the_package_is_not_that_of_the_site(tmp_path: Path) -> None:
    old, config = tmp_path / "default", tmp_path / "archipelago.conf"
    old.write_text(FILES_V03.replace("/srv/archip", "/data"))
    config.write_text("[blockerb]\narchip_dir=/srv/archip/blocks\n[blockerm]\narchip_dir=/m\n")
    assert not read_node(config, old).is_converted
    old.unlink()
    assert read_node(config, old).is_converted


def test_pithos_own_trees_are_named_to_relocate() -> None:
    node = Node(pithos=("--pithos-blocks", "/srv/pithos/blocks", "--pithos-maps", "/srv/b"))
    site = Site("/srv/a", "/srv/b")
    missing = blocker(Topic.CONFLICTS, "", "", kind="missing", count=1)
    steps = plan(Facts(node, site, findings=[missing]))
    (step,) = (s for s in steps if s.key == "relocate")
    assert step.commands[0].endswith("--v03-stopped --pithos-blocks /srv/pithos/blocks")
    assert "mend" not in keys(steps)
    steps = plan(Facts(node, site, prelink=True))
    (step,) = (s for s in steps if s.key == "pithos-trees")
    assert step.commands == ["cp -an /srv/pithos/blocks/. /srv/a/"]
    assert keys(steps).index("pithos-trees") < keys(steps).index("relocate")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "{}/none", "--v03-config", "{}/none"), "name the directory"),
        (("--config", "{}/c", "{}"), "not both"),
        (("--hosts=-x", "{}"), "no host"),
        (("--config", "{}/none", "--v03-config", "{}/shell"), "line 1"),
        (("--config", "{}/none", "--v03-config", "{}/empty"), "FILED_IMAGES"),
    ],
)
def test_site_that_is_not_named_is_refused(
    program: Program, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "shell").write_text("export X=1\n")
    (tmp_path / "empty").write_text("STORAGE='files'\n")
    ended = program("guide", *(word.format(tmp_path) for word in words))
    assert ended.status == 2
    assert message in ended.err
