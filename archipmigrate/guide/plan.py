"""The steps that remain, in their order. Pure: facts in, steps out.

With files every node stops at once: v0.3 and v0.4 look for objects at different places. With RADOS
there is nothing to move, and one node is upgraded after the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from ..check.finding import Finding, Level, Topic
from ..check.site import LOCKS as LOCK_DIRECTORY
from ..check.site import Site
from ..config.blocker import OWNER
from ..config.v04 import GLOBAL
from ..jobs.registry import LOCKS, MAPFILES, PERMS, RELOCATE, is_of
from ..prelink.kind import KIND as PRELINK
from ..relocate.classify import Class
from ..ui.text import command_line
from . import nodes
from .facts import Facts
from .remaining import ROOT, Remaining, remaining
from .step import ONE_NODE, Step

FINALIZE = "/usr/share/archipelago/tools/finalize_upgrade_0.4"
RECORD = "/root/volumes.json"
BLOCKS = "--pithos-blocks"
# Topics whose blockers are steps of their own.
OWN_STEPS = (Topic.PLACES, Topic.DRIFT, Topic.DAEMONS)


def plan(facts: Facts) -> list[Step]:
    """Return the steps that remain; none if nothing is left to do."""
    if facts.site is None:
        return list(_rados(facts))
    return list(_files(facts, facts.site, remaining(facts)))


def _files(facts: Facts, site: Site, left: Remaining) -> Iterator[Step]:
    yield from _mend(facts)
    if left.stops_v03:
        yield from _before_v03_stops(facts, site, left)
        yield from nodes.stop_v03(facts)
    elif left.v04_runs and left.restarts:
        yield nodes.drain(facts)
        yield from nodes.stop_v04(facts)
    if left.stops_v03 or left.package:
        yield from nodes.packages(facts)
    if left.config:
        yield from nodes.configure(facts)
    if left.stops_v03:
        yield _record(facts, site)
    yield from _share(facts, site, left)
    if left.restarts:
        yield from nodes.start(facts)
        if left.stops_v03 or not left.v04_runs:
            yield nodes.start_up(facts)
        yield nodes.undrain(facts)
    yield from _afterwards(facts, site, left)


def _mend(facts: Facts) -> Iterator[Step]:
    """Yield what a check finds and no job does."""
    for found in facts.findings:
        if (
            found.topic is Topic.RUNS
            and found.level is not Level.OK
            and not _is_prelink(facts, found)
        ):
            yield Step("run", ONE_NODE, found.text, (), found.todo)
        elif found.level is Level.BLOCKER and not _is_own_step(facts, found):
            yield Step("mend", ONE_NODE, f"{found.topic}: {found.text}", (), found.todo)


def _is_own_step(facts: Facts, found: Finding) -> bool:
    """Whether a step is for a finding: objects may be missing since they are in Pithos' trees."""
    is_missing = found.data.get("kind") == Class.MISSING.value
    return found.topic in OWN_STEPS or (is_missing and bool(_pithos(facts)))


def _is_prelink(facts: Facts, found: Finding) -> bool:
    """Whether a run is one of prelink, whose phases are steps of their own."""
    return found.data.get("run") in [run.run for run in facts.runs if is_of(run, PRELINK)]


def _before_v03_stops(facts: Facts, site: Site, left: Remaining) -> Iterator[Step]:
    if left.config:
        site = replace(site, config=None)  # it is not there yet
    if facts.hosts:
        text = "see that user and group have the same numbers on all nodes"
        command = site.check("--hosts", ",".join(facts.hosts))
        yield Step("numbers", ONE_NODE, text, [command], "asks them by ssh")
    yield from nodes.open_mapped(facts)
    if facts.prelink and left.relocate:
        note = (
            "while v0.3 serves; again until little is new. Make and remove no volumes from here "
            "on: removed ones free no space"
        )
        command = site.relocate("--prelink")
        yield Step("second-names", ONE_NODE, "give blocks their second names", [command], note)
    yield nodes.drain(facts)
    yield nodes.shut_down(facts)


def _record(facts: Facts, site: Site) -> Step:
    pithos = _pithos(facts)
    blocks = pithos[pithos.index(BLOCKS) :][:2] if BLOCKS in pithos else []
    text = "record the sha256 of each volume, as v0.3 serves it"
    note = "if there is time: it reads all that is stored"
    return Step("record", ONE_NODE, text, [site.check("--record", RECORD, *blocks)], note)


def _share(facts: Facts, site: Site, left: Remaining) -> Iterator[Step]:
    """Yield what is done to the share, on one node, and to the configurations in between."""
    if left.relocate:
        yield from _relocate(facts, site)
    if left.perms:
        text = f"open the share to group {site.group}"
        note = "if others can write to the share: with --hard-links skip"
        yield Step(PERMS, ONE_NODE, text, site.perms().split("; "), note)
    if left.owner:
        settings = [f"USER={OWNER if site.user == ROOT else site.user}", f"GROUP={site.group}"]
        text = "have v0.4 run as its own user, now that it may"
        yield from nodes.set_option(facts, "owner", text, settings)
    if left.lock_dir:
        yield from _lock_dir(facts, site)
    if left.locks:
        command = site.command(LOCKS, "--clean", "--v03-stopped")
        yield Step(LOCKS, ONE_NODE, "remove the locks that v0.3 never released", [command])
    if left.maps:
        note = "v0 maps of Pithos need their sizes: --pithos-db URL, or --sizes FILE"
        command = site.mapfiles("--v03-stopped")
        yield Step(MAPFILES, ONE_NODE, "convert the maps of all volumes", [command], note)
    if left.relocate or left.perms or left.maps or (left.restarts and not left.v04_runs):
        text = "see that the share is ready"
        commands = [site.check(), site.check("--volumes")]
        note = (
            f"or --compare {RECORD} in place of --volumes. This is the last moment from which the "
            "undos lead back without loss"
        )
        yield Step("ready", ONE_NODE, text, commands, note)


def _relocate(facts: Facts, site: Site) -> Iterator[Step]:
    text = "move objects to where v0.4 looks"
    trees = _pithos(facts)
    if not facts.prelink:
        note = "look first, with -n in place of --v03-stopped"
        yield Step(RELOCATE, ONE_NODE, text, [site.relocate("--v03-stopped", *trees)], note)
        return
    if trees:
        places = {BLOCKS: site.blocks, "--pithos-maps": site.maps}
        pairs = zip(trees[::2], trees[1::2], strict=True)
        commands = [
            command_line(["cp", "-an", f"{tree}/.", f"{places[option]}/"]) for option, tree in pairs
        ]
        copied = "copy Pithos' own trees to where v0.4 looks"
        yield Step("pithos-trees", ONE_NODE, copied, commands, "phases of prelink leave them")
    yield Step(RELOCATE, ONE_NODE, text, [site.relocate("--prelink", "--v03-stopped")])


def _lock_dir(facts: Facts, site: Site) -> Iterator[Step]:
    directory = site.locks or os.path.join(
        os.path.dirname(os.path.abspath(site.maps)), LOCK_DIRECTORY
    )
    owner = ["--owner", site.user, "--group", site.group]
    command = command_line(["archipmigrate", LOCKS, "--adopt", "--locks", directory, *owner])
    yield Step(
        "lock-dir", ONE_NODE, "make the lock directory", [command], "on the share, for all nodes"
    )
    yield from nodes.set_option(
        facts, "lock-dir", "have v0.4 take its locks there", [f"lock_dir={directory}"]
    )


def _pithos(facts: Facts) -> list[str]:
    """Return the options for Pithos' own trees, if those are not the blockers' directories."""
    if facts.node is None or facts.site is None:
        return []
    ours = {os.path.realpath(path) for path in facts.site.directories.values()}
    words = list(facts.node.pithos)
    pairs = zip(words[::2], words[1::2], strict=True)
    return [
        w for option, path in pairs if os.path.realpath(path) not in ours for w in (option, path)
    ]


def _afterwards(facts: Facts, site: Site, left: Remaining) -> Iterator[Step]:
    if left.drop_old or (facts.prelink and left.relocate):
        note = "while v0.4 runs; before that, `relocate --back` leads back to v0.3"
        yield Step(
            "drop-old", ONE_NODE, "remove the old names", [site.relocate("--drop-old")], note
        )
    if left.pithos:
        yield Step(
            "pithos-conflicts",
            ONE_NODE,
            "see which objects of Pithos v0.4 would fail on once it moves them",
            [site.relocate("--pithos-migrate", "-n")],
            "it must list no conflict before the next step",
        )
        text = "have v0.4 move Pithos' objects to its own places as they are used, and restart it"
        note = "once Pithos itself is upgraded"
        yield from nodes.set_option(facts, "pithos", text, ["pithos_migrate=True"], note)
    if left.old_config:
        yield from nodes.remove_old(facts)
    if left.owners:
        commands = site.perms_of(["--owner", OWNER, "--group", site.group])
        text = f"give the share to {OWNER}, which Pithos does not need to own any more"
        yield Step("owners", ONE_NODE, text, commands, "while services run")


def _rados(facts: Facts) -> Iterator[Step]:
    """Yield node after node, then what is done once."""
    node = facts.node
    bad = node is None or node.ini is None or not node.is_converted or node.is_bad
    old = node is not None and node.v03 is not None
    if bad or old:
        for number, host in enumerate(nodes.nodes(facts)):
            yield nodes.drain(facts, [host])
            yield from nodes.open_mapped(nodes.only(facts, host))
            yield nodes.evacuate(host, is_first=number == 0)
            yield from nodes.stop_v03(nodes.only(facts, host))
            yield from nodes.packages(nodes.only(facts, host))
            yield from nodes.configure(nodes.only(facts, host))
            yield from nodes.start(nodes.only(facts, host))
            yield from nodes.remove_old(nodes.only(facts, host))
            yield nodes.undrain(facts, [host])
    if node is not None and node.get(GLOBAL, "USER") == ROOT:
        yield from nodes.set_option(
            facts, "owner", "run as a user of its own", [f"USER={OWNER}", f"GROUP={OWNER}"]
        )
    text = "convert the maps of all volumes, with v0.4's own tool (mapfiles is for files)"
    note = (
        "once every node is upgraded, while nobody makes or removes volumes. Whether it was done "
        "cannot be seen from here"
    )
    yield Step("finalize", ONE_NODE, text, [FINALIZE], note)
