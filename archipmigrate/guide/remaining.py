"""What remains to be done on a site whose objects are files. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..check.finding import Level, Topic
from ..config.blocker import OF_BLOCKS, OF_MAPS
from ..config.v04 import GLOBAL
from ..prelink.phases import V04_MAY_RUN, Phase
from .facts import Facts

ROOT = "root"


@dataclass(frozen=True, slots=True)
class Remaining:
    """Which parts of the upgrade are not done.

    Without a walk nothing is known of the share: everything about it remains. Without
    configurations nothing is known of nodes: only what the share needs of them remains.
    """

    relocate: bool
    drop_old: bool
    perms: bool
    maps: bool
    locks: bool
    owners: bool
    v03_runs: bool
    v04_runs: bool
    package: bool
    config: bool
    owner: bool
    lock_dir: bool
    pithos: bool
    old_config: bool

    @property
    def stops_v03(self) -> bool:
        """Whether v0.3 still serves, so that every node has to be stopped."""
        return self.relocate or self.v03_runs

    @property
    def restarts(self) -> bool:
        """Whether v0.4 has to be started, or started again."""
        settings = self.config or self.owner or self.lock_dir or self.pithos
        return self.stops_v03 or settings or (self.drop_old and not self.v04_runs)


def remaining(facts: Facts) -> Remaining:
    """Return what remains."""
    node = facts.node
    walked = any(found.topic is Topic.DRIFT for found in facts.findings)
    config = node is not None and (node.ini is None or not node.is_converted or node.is_bad)
    return Remaining(
        relocate=facts.phase not in V04_MAY_RUN
        and (not walked or facts.is_level(Topic.PLACES, Level.BLOCKER, "current")),
        drop_old=facts.phase in V04_MAY_RUN and facts.phase is not Phase.DROPPED,
        perms=not walked or facts.is_level(Topic.DRIFT, Level.BLOCKER, "drift"),
        maps=not walked or facts.is_level(Topic.MAPS, Level.WARNING, "versions"),
        locks=any(facts.figure(Topic.LOCKS, kind) for kind in ("v03", "free")),
        owners=facts.is_synnefo and _has_other_owners(facts),
        v03_runs=facts.figure(Topic.DAEMONS, "v03") > 0,
        v04_runs=facts.figure(Topic.DAEMONS, "v04") > 0,
        package=node is not None and node.ini is None,
        config=config,
        owner=node is not None
        and (config or ROOT in (node.get(GLOBAL, "USER"), node.get(GLOBAL, "GROUP"))),
        lock_dir=node is not None and not node.get(OF_MAPS, "lock_dir"),
        pithos=node is not None
        and facts.figure(Topic.PLACES, "pithos") > 0
        and not all(node.is_on(section, "pithos_migrate") for section in (OF_BLOCKS, OF_MAPS)),
        old_config=node is not None and node.v03 is not None,
    )


def _has_other_owners(facts: Facts) -> bool:
    """Whether anything that was looked at belongs to another than the user of v0.4."""
    uids = [found.data.get("uid") for found in facts.findings if found.topic is Topic.USER]
    owners: set[str] = set()
    for found in facts.findings:
        by_owner = found.data.get("owners")
        if isinstance(by_owner, dict):
            owners.update(str(owner).partition(":")[0] for owner in by_owner)
    return bool(owners - {str(uid) for uid in uids})
