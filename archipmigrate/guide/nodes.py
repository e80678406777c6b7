"""The steps that are done on nodes, and on the masters that drain them. Pure.

Where the upgrade guide names an option that there is not, the one that does it stands here:
`archipelago stop -f` and `gnt-cluster modify --drained`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..config.files import CONFIG, V03
from ..ui.text import command_line
from .facts import Facts, Node
from .step import EVERY_NODE, MASTER, Step

NODE = "<node>"
CLOUD = "Or all nodes at once, on Cyclades: snf-manage backend-modify --drained={} <backend_id>"
OPEN = "for i in $(vlmc showmapped | grep -v image | awk '{print $2}'); do vlmc open $i; done"


def nodes(facts: Facts) -> Sequence[str]:
    """Return the nodes, or the placeholder of one."""
    return facts.hosts or (NODE,)


def per_node(
    facts: Facts, key: str, text: str, commands: Sequence[str], note: str = ""
) -> Iterator[Step]:
    """Yield the same step for each node."""
    for host in facts.hosts or (EVERY_NODE,):
        yield Step(key, host, text, commands, note)


def drain(facts: Facts, hosts: Iterable[str] | None = None) -> Step:
    """Return the step that keeps Ganeti from touching nodes."""
    commands = [_on("gnt-node modify --drained=yes", host) for host in hosts or nodes(facts)]
    text = "drain the nodes: no volume is made, mapped or removed from here on"
    return Step("drain", MASTER, text, commands, CLOUD.format("True"))


def undrain(facts: Facts, hosts: Iterable[str] | None = None) -> Step:
    """Return the step that takes that back."""
    commands = [_on("gnt-node modify --drained=no", host) for host in hosts or nodes(facts)]
    return Step("undrain", MASTER, "undrain the nodes", commands, CLOUD.format("False"))


def open_mapped(facts: Facts) -> Iterator[Step]:
    """Yield what versions before 0.3.5 need."""
    note = "only if v0.3 is older than 0.3.5 (dpkg-query -W archipelago); no error may be left"
    yield from per_node(facts, "open", "open each mapped volume", [OPEN], note)


def shut_down(facts: Facts) -> Step:
    """Return the step that takes VMs off all nodes.

    There is no node to move them to: v0.3 finds nothing that was moved, v0.4 nothing that was not.
    """
    commands = [
        _on("gnt-instance shutdown --primary --force-multiple", host) for host in nodes(facts)
    ]
    note = "none can be moved to an upgraded node: v0.3 and v0.4 look for objects at other places"
    return Step("evacuate", MASTER, "shut the VMs down", commands, note)


def start_up(facts: Facts) -> Step:
    """Return the step that starts them again."""
    commands = [
        _on("gnt-instance startup --primary --force-multiple", host) for host in nodes(facts)
    ]
    return Step("startup", MASTER, "start the VMs", commands, "one first: see that it boots")


def evacuate(host: str, *, is_first: bool) -> Step:
    """Return the step that moves VMs to other nodes, which can serve them."""
    commands = [_on("gnt-node migrate -f", host), _on("gnt-node failover -f", host)]
    note = "failover for what does not migrate"
    if is_first:
        note += "; the first node has no upgraded one to go to: leave what cannot move, shut down"
    return Step("evacuate", MASTER, f"move the VMs off {host}", commands, note)


def stop_v03(facts: Facts) -> Iterator[Step]:
    """Yield the step that stops v0.3."""
    note = "see that it is: archipelago status; no volume may be mapped"
    yield from per_node(facts, "stop-v03", "stop v0.3", ["archipelago stop"], note)


def stop_v04(facts: Facts) -> Iterator[Step]:
    """Yield the step that stops v0.4 while volumes may be mapped."""
    note = (
        "with mapped volumes: archipelago stop --pause, or --unmap; -f of the upgrade guide does "
        "not exist. VMs freeze until it is started again"
    )
    yield from per_node(facts, "stop-v04", "stop v0.4", ["archipelago stop"], note)


def packages(facts: Facts) -> Iterator[Step]:
    """Yield the step that installs v0.4, by the role of a node."""
    names = ["archipelago", "archipelago-ganeti"]
    if facts.is_rados:
        names.append("archipelago-rados")
    commands = [
        command_line(["apt-get", "install", *names]),
        "apt-get install blktap-archipelago-utils blktap-dkms",
    ]
    note = (
        "the second on nodes that host VMs; xseg-tools to look into segments. Do not start it yet"
    )
    yield from per_node(facts, "packages", "install v0.4", commands, note)


def configure(facts: Facts) -> Iterator[Step]:
    """Yield the step that makes v0.4's configuration."""
    node = facts.node or Node()
    is_usual = node.config == CONFIG
    old = [] if node.old == V03 else [str(node.old)]
    new = [] if is_usual else ["-o", str(node.config)]
    checked = [] if is_usual else [str(node.config)]
    commands = [
        command_line(["archipmigrate", "config", "convert", *old, *new, "--force"]),
        command_line(["archipmigrate", "config", "check", *checked]),
    ]
    note = (
        "nodes that host no VMs: archipmigrate config set BLKTAP_ENABLED=False (vlmc then refuses "
        "every command there)"
    )
    yield from per_node(facts, "config", "make v0.4's configuration from v0.3's", commands, note)


def start(facts: Facts) -> Iterator[Step]:
    """Yield the step that starts v0.4."""
    note = "a daemon that cannot change its user goes on as root and only logs that: see its owner"
    yield from per_node(facts, "start", "start v0.4", ["archipelago start"], note)


def remove_old(facts: Facts) -> Iterator[Step]:
    """Yield the step that removes v0.3's configuration."""
    command = command_line(["rm", str((facts.node or Node()).old)])
    note = "keep a copy for as long as you may want to go back"
    yield from per_node(facts, "remove-old", "remove v0.3's configuration", [command], note)


def set_option(
    facts: Facts, key: str, text: str, settings: Sequence[str], note: str = ""
) -> Iterator[Step]:
    """Yield the step that sets options on each node."""
    config = (facts.node or Node()).config
    which = [] if config == CONFIG else ["--config", str(config)]
    command = command_line(["archipmigrate", "config", "set", *which, *settings])
    yield from per_node(facts, key, text, [command], note)


def only(facts: Facts, host: str) -> Facts:
    """Return facts as of a site with one node."""
    return replace(facts, hosts=() if host == NODE else (host,))


def _on(command: str, host: str) -> str:
    return f"{command} {host if host == NODE else command_line([host])}"
