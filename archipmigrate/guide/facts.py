"""What is known of a site: its configurations, what a check finds, and our runs.

Where v0.4's configuration is not there yet, or still the package's own, v0.3's says where the share
is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..check.finding import Finding, Level, Topic
from ..check.question import Question
from ..check.runs import phase_of, standing_runs
from ..check.site import Site, find_site
from ..check.topics import findings
from ..config.blocker import FILES, OF_BLOCKS, OF_MAPS, OWNER, RADOS
from ..config.check import check_config
from ..config.convert import STORAGES
from ..config.files import CONFIG, V03, read_file, read_text
from ..config.findings import Level as Severity
from ..config.host import ThisHost
from ..config.ini import BadLine, Ini
from ..config.v03 import V03Config, read_v03
from ..config.v04 import TRUE
from ..errors import UsageError
from ..journal.store import RunHeader
from ..prelink.phases import Phase

T = TypeVar("T")

SYNNEFO = "synnefo"
PITHOS_TREE = "/srv/pithos/"
V03_DIRECTORIES = {OF_BLOCKS: "FILED_IMAGES", OF_MAPS: "FILED_MAPS"}


@dataclass(frozen=True, slots=True)
class Node:
    """The configurations of this node.

    `ini` is v0.4's (None: there is none that v0.4 could read), `is_converted` whether it has the
    directories of v0.3's, `is_bad` whether v0.4 would not start with it. `pithos` are the options
    of relocate for Pithos' own trees.
    """

    config: Path = CONFIG
    old: Path = V03
    ini: Ini | None = None
    v03: V03Config | None = None
    is_converted: bool = False
    is_bad: bool = False
    storage: str = FILES
    pithos: Sequence[str] = ()

    def get(self, section: str, option: str) -> str:
        """Return an option of v0.4's configuration; "" if it is not set."""
        try:
            return (self.ini and self.ini.get(section, option)) or ""
        except BadLine:
            return ""

    def is_on(self, section: str, option: str) -> bool:
        """Whether a switch of v0.4's configuration is on."""
        return self.get(section, option).lower() in TRUE


@dataclass(frozen=True, slots=True)
class Facts:
    """What the steps follow from.

    `node` is None if the site was named by its directory: nothing is known of nodes then. `site` is
    None if objects are in RADOS: there is no share. `runs` are those on the site that are not
    undone, the newest first. `phase` is that of `relocate --prelink`, if it has begun.
    """

    node: Node | None = None
    site: Site | None = None
    hosts: Sequence[str] = ()
    findings: Sequence[Finding] = ()
    runs: Sequence[RunHeader] = ()
    prelink: bool = False
    phase: Phase | None = None
    state: Sequence[str] = field(default_factory=tuple)

    @property
    def is_rados(self) -> bool:
        """Whether objects are in RADOS."""
        return self.node is not None and self.node.storage == RADOS

    @property
    def is_synnefo(self) -> bool:
        """Whether Pithos works on the same share."""
        site = self.site
        return site is not None and (site.group == SYNNEFO or site.maps.startswith(PITHOS_TREE))

    def figure(self, topic: Topic, name: str) -> int:
        """Return the sum of a figure of all findings about a topic."""
        values = (found.data.get(name) for found in self.findings if found.topic is topic)
        return sum(value for value in values if isinstance(value, int))

    def is_level(self, topic: Topic, level: Level, name: str) -> bool:
        """Whether there is a finding about a topic with that level, and a figure of that name."""
        return any(
            found.topic is topic and found.level is level and name in found.data
            for found in self.findings
        )


def read_node(config: Path, old: Path) -> Node:
    """Read the configurations of this node; either may be missing. Raises UsageError."""
    text = _read(config, read_text)
    content = _read(old, read_file)
    v03 = None
    if content is not None:
        try:
            v03 = read_v03(content)
        except BadLine as error:
            raise UsageError(f"{old}: {error}") from None
    if text is None:
        return Node(config, old, None, v03, storage=_storage(None, v03), pithos=_pithos(v03))
    is_bad = any(found.level is Severity.BLOCKER for found in check_config(text, ThisHost()))
    try:
        ini: Ini | None = Ini(text)
    except BadLine:
        ini = None
    storage = _storage(ini, v03)
    converted = ini is not None and _is_converted(ini, v03, storage)
    return Node(config, old, ini, v03, converted, is_bad, storage, _pithos(v03))


def _read(path: Path, read: Callable[[Path], T]) -> T | None:
    try:
        return read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _text(v03: V03Config | None, name: str) -> str:
    value = v03.names[name].value if v03 and name in v03.names else None
    return value if isinstance(value, str) else ""


def _storage(ini: Ini | None, v03: V03Config | None) -> str:
    """Return where objects are: as v0.3 has it, as long as its configuration is there."""
    return STORAGES.get(_text(v03, "STORAGE")) or (ini and ini.get(OF_MAPS, "type")) or FILES


def _is_converted(ini: Ini, v03: V03Config | None, storage: str) -> bool:
    if v03 is None:
        return True
    if storage == RADOS:
        return ini.get(OF_MAPS, "type") == RADOS
    return all(
        os.path.normpath(ini.get(section, "archip_dir") or "") == os.path.normpath(_text(v03, name))
        for section, name in V03_DIRECTORIES.items()
        if _text(v03, name)
    )


def _pithos(v03: V03Config | None) -> list[str]:
    options = {"--pithos-blocks": "PITHOS", "--pithos-maps": "PITHOSMAPS"}
    given = {option: _text(v03, name) for option, name in options.items()}
    return [word for option, path in given.items() if path for word in (option, path)]


def find_node_site(node: Node, owner: str | None = None, group: str | None = None) -> Site | None:
    """Return the site that this node's configurations name; None if its objects are in RADOS.

    Raises UsageError.
    """
    if node.storage == RADOS:
        return None
    if node.ini is not None and node.is_converted:
        return find_site(config=node.config, owner=owner, group=group)
    if node.v03 is None:
        raise UsageError(
            f"there is neither {node.config} nor {node.old}: name the directory with blocks and "
            "maps in it"
        )
    blocks, maps = (_text(node.v03, name) for name in V03_DIRECTORIES.values())
    if not blocks or not maps:
        raise UsageError(f"{node.old}: FILED_IMAGES and FILED_MAPS are no names of directories")
    # Commands go by the configuration: it is made before they are needed.
    return Site(blocks, maps, user=owner or OWNER, group=group or OWNER, config=node.config)


def gather(node: Node | None, question: Question | None, *, prelink: bool = False) -> Facts:
    """Check a site, and return all that is known of it. Raises Error."""
    if question is None:
        return Facts(node, prelink=prelink)
    options = question.options
    runs = standing_runs(question)
    phase = Phase(found) if (found := phase_of(question, runs)) else None
    return Facts(
        node,
        question.site,
        question.hosts,
        tuple(findings(question)),
        tuple(runs),
        prelink or phase is not None,
        phase,
        options.state_words,
    )
