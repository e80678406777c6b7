"""v0.3's configuration as one of v0.4. Pure: text in, text and findings out.

The file that comes out is read by the rules of v0.4 and judged as `check` does, before anybody sees
it: a value that would arrive changed is a blocker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .blocker import FILES, RADOS
from .check import check_config
from .findings import ConfigFinding, Level
from .host import AnyHost
from .ini import BadLine, Ini
from .v03 import Literal, V03Config
from .v04 import BLOCKERB, BLOCKERM, GLOBAL, MAPPERD, PEERS, ROLES, SEGMENT, VLMCD

STORAGES = {"files": FILES, "rados": RADOS}
# What v0.3.5 takes where a name is not given.
PORTS = {"VPORT_START": 500, "VPORT_END": 999, "BPORT": 1000, "MPORT": 1001, "MBPORT": 1002,
         "VTOOL": 1003}  # fmt: skip
OPERATIONS = 512
VTOOL_PORTS = 20  # as many as v0.4's package has
FIXED_PORTS = 1024  # SEGMENT_DYNPORTS of v0.4's package; the last is reserved
LEAST_CACHE = 512
LOG_LEVEL = 2
HIGHEST_LOG_LEVEL = 3
CEPH = "/etc/ceph/ceph.conf"
# Names of v0.3 that nothing of v0.4 takes the place of, and why.
NO_SUCCESSOR = {
    "SPEC": "the segment of v0.4 is another: see SEGMENT_SIZE above",
    "XSEGBD_START": "v0.4 has no xsegbd; blktap takes its place",
    "XSEGBD_END": "v0.4 has no xsegbd; blktap takes its place",
    "CEPH_CONF_FILE": f"v0.4 reads {CEPH} only",
}
PITHOS = {"PITHOS": BLOCKERB, "PITHOSMAPS": BLOCKERM}


@dataclass(slots=True)
class Converted:
    """A configuration of v0.4, and what was found on the way; not to be used with a blocker."""

    text: str = ""
    findings: list[ConfigFinding] = field(default_factory=list)

    @property
    def blocked(self) -> bool:
        """Whether v0.4 would not start with it, or not serve what v0.3 served."""
        return any(finding.level is Level.BLOCKER for finding in self.findings)


def convert(v03: V03Config, source: str) -> Converted:
    """Convert the names of a file, which is called *source* in comments."""
    conversion = _Conversion(v03)
    sections = conversion.sections()
    text = "\n".join(_lines(source, sections, conversion.comments))
    findings = conversion.findings
    if not any(finding.level is Level.BLOCKER for finding in findings):
        findings += _arriving_changed(text, sections)
        # Lines are those of v0.3's file; what `check` says names the option.
        findings += [replace(finding, line=0) for finding in check_config(text, AnyHost())]
    return Converted(text, sorted(findings, key=lambda found: found.line or len(text)))


Sections = dict[str, dict[str, str]]
COMMENTS = {
    (GLOBAL, "USER"): (
        "root until `archipmigrate perms` has given the share to the group, then archipelago:",
        "archipmigrate config set USER=archipelago GROUP=archipelago",
    ),
    (GLOBAL, "BLKTAP_ENABLED"): ("must be True on nodes that host VMs",),
    (SEGMENT, "SEGMENT_SIZE"): (
        "MiB: 256 + 64 for each volume of this node, or on one of Pithos",
        "256 + 4 x gunicorn workers x POOL_SIZE",
    ),
}


def _lines(source: str, sections: Sections, comments: list[str]) -> Iterator[str]:
    yield f"# Made from {ascii(source)[1:-1]} of v0.3 by `archipmigrate config convert`."
    for section, options in sections.items():
        yield ""
        yield f"[{section}]"
        for option, value in options.items():
            yield from (f"# {line}" for line in COMMENTS.get((section, option), ()))
            yield f"{option}={value}"
    if comments:
        yield ""
        yield "# What has no successor in v0.4:"
        yield from (f"# {line}" for line in comments)
    yield ""


def _arriving_changed(text: str, sections: Sections) -> Iterator[ConfigFinding]:
    """Yield a blocker for each value that v0.4 would not read as it is meant."""
    try:
        ini = Ini(text)
        for section, options in sections.items():
            for option, value in options.items():
                if ini.get(section, option) != value:
                    raise BadLine(ini.line(section, option), f"{option} = {value!a}")
    except BadLine as error:
        text = f"cannot be written so that v0.4 reads it as it is: {error.what}"
        yield ConfigFinding(0, Level.BLOCKER, text, "give the directory another name")


class _Conversion:
    """One file."""

    def __init__(self, v03: V03Config) -> None:
        self._v03 = v03
        self._used: set[str] = set()
        self.findings: list[ConfigFinding] = []
        self.comments: list[str] = []

    def sections(self) -> Sections:
        storage = self._storage()
        ports = {name: self._number(name, default) for name, default in PORTS.items()}
        fixed, vtool_end = self._segment_ports(ports)
        is_files = storage == FILES
        owner = "root" if is_files else "archipelago"
        sections = {
            GLOBAL: {"USER": owner, "GROUP": owner, "BLKTAP_ENABLED": "True", "UMASK": "0o007"},
            SEGMENT: {
                "SEGMENT_PORTS": str(2 * fixed),
                "SEGMENT_DYNPORTS": str(fixed),
                "SEGMENT_SIZE": "2048",
                "VTOOL_START": str(ports["VTOOL"]),
                "VTOOL_END": str(vtool_end),
            },
            PEERS: {"ROLES": " ".join(ROLES)},
            BLOCKERB: self._blocker(storage, ports["BPORT"], "BLOCKERB", "IMAGES", "BLOCKS"),
            BLOCKERM: self._blocker(storage, ports["MBPORT"], "BLOCKERM", "MAPS", "MAPS"),
            MAPPERD: {
                **self._peer("mapperd", ports["MPORT"], ports["MPORT"], "MAPPER"),
                "blockerb_port": str(ports["BPORT"]),
                "blockerm_port": str(ports["MBPORT"]),
                "umask": "007",
            },
            VLMCD: {
                **self._peer("vlmcd", ports["VPORT_START"], ports["VPORT_END"], "VLMC"),
                "blocker_port": str(ports["BPORT"]),
                "mapper_port": str(ports["MPORT"]),
                "umask": "007",
            },
        }
        self._pithos(is_files=is_files)
        self._rest()
        return sections

    # -- values of v0.3

    def _find(self, level: Level, name: str, text: str, todo: str) -> None:
        assigned = self._v03.names.get(name)
        line = assigned.line if assigned else 0
        self.findings.append(ConfigFinding(line, level, f"{name}{text}", todo))

    def _get(self, name: str) -> Literal | None:
        """Return a value; None if there is none, or if it is no literal, which is a blocker."""
        self._used.add(name)
        assigned = self._v03.names.get(name)
        if assigned and assigned.value is None:
            todo = "write the value itself into a copy, and convert that"
            self._find(Level.BLOCKER, name, f" is no literal: {assigned.source}", todo)
        return assigned.value if assigned else None

    def _number(self, name: str, default: int) -> int:
        value = self._get(name)
        if value is None:
            return default
        try:
            return int(value, 10) if isinstance(value, str) else value
        except ValueError:
            self._find(Level.BLOCKER, name, f" = {value!a} is no number", "mend it in a copy")
            return default

    def _text(self, name: str) -> str:
        """Return a text that v0.4 needs."""
        value = self._get(name)
        if isinstance(value, str) and value:
            return value
        if name not in self._v03.names:
            self._find(
                Level.BLOCKER, name, " is missing: v0.3 needs it, and v0.4, too", "add it to a copy"
            )
        elif self._v03.names[name].value is not None:
            self._find(Level.BLOCKER, name, f" = {value!a} is no name", "mend it in a copy")
        return ""

    # -- parts of v0.4's file

    def _storage(self) -> str:
        storage = self._text("STORAGE")
        if storage and storage not in STORAGES:
            self._find(
                Level.BLOCKER, "STORAGE", f" = {storage!a}: neither files nor rados", "mend it"
            )
        return STORAGES.get(storage, FILES)

    def _segment_ports(self, ports: dict[str, int]) -> tuple[int, int]:
        """Return SEGMENT_DYNPORTS and VTOOL_END.

        Ports of the tool follow VTOOL up to the next that is taken; the last fixed one is
        reserved.
        """
        vtool = ports["VTOOL"]
        above = [port for name, port in ports.items() if name != "VTOOL" and port > vtool]
        highest = max(ports.values())
        fixed = FIXED_PORTS * (1 + (highest + 1) // FIXED_PORTS)
        if fixed != FIXED_PORTS:
            text = f"ports up to {highest}: SEGMENT_DYNPORTS is {fixed}, not {FIXED_PORTS}"
            todo = "or choose ports below 1023, the same on all nodes"
            self.findings.append(ConfigFinding(0, Level.WARNING, text, todo))
        return fixed, min(vtool + VTOOL_PORTS, *above, fixed - 1) - 1

    def _peer(self, kind: str, start: int, end: int, suffix: str) -> dict[str, str]:
        return {
            "type": kind,
            "portno_start": str(start),
            "portno_end": str(end),
            "log_level": str(self._log_level(f"VERBOSITY_{suffix}")),
            "nr_ops": str(self._operations(f"NR_OPS_{suffix}")),
        }

    def _log_level(self, name: str) -> int:
        level = self._number(name, LOG_LEVEL)
        if name not in self._v03.names:
            self._find(
                Level.WARNING,
                name,
                f" is missing: log_level is {LOG_LEVEL}",
                "see that it is right",
            )
        if 0 <= level <= HIGHEST_LOG_LEVEL:
            return level
        nearest = max(0, min(level, HIGHEST_LOG_LEVEL))
        self._find(Level.WARNING, name, f" = {level}: v0.4 takes 0 to 3, so it is {nearest}", "")
        return nearest

    def _operations(self, name: str) -> int:
        operations = self._number(name, OPERATIONS)
        if name not in self._v03.names:
            self._find(
                Level.WARNING, name, f" is missing: nr_ops is {OPERATIONS}", "see that it is right"
            )
        if operations < 1 or operations > 1 << 20:
            self._find(Level.BLOCKER, name, f" = {operations}: no number of operations", "mend it")
            return OPERATIONS
        power = 1 << (operations - 1).bit_length()
        if power != operations:
            text = f" = {operations} is no power of two, as v0.4 needs it: nr_ops is {power}"
            self._find(Level.WARNING, name, text, "")
        return power

    def _blocker(
        self, storage: str, port: int, suffix: str, directory: str, pool: str
    ) -> dict[str, str]:
        options = self._peer(storage, port, port, suffix)
        if storage == RADOS:
            return {
                **options,
                "nr_threads": "1",
                "pool": self._text(f"RADOS_POOL_{pool}"),
                "umask": "007",
            }
        operations = int(options["nr_ops"])
        return {
            **options,
            "nr_threads": str(operations),
            "archip_dir": self._text(f"FILED_{directory}"),
            "fdcache": str(max(LEAST_CACHE, 2 * operations)),
            "direct": "True",
            "umask": "007",
            "pithos_migrate": "False",
        }

    # -- what has no successor

    def _pithos(self, *, is_files: bool) -> None:
        given = {
            name: value for name in PITHOS if isinstance(value := self._get(name), str) and value
        }
        if not is_files:
            return
        options = {"PITHOS": "--pithos-blocks", "PITHOSMAPS": "--pithos-maps"}
        words = " ".join(f"{options[name]} {value!a}" for name, value in given.items())
        for name, value in given.items():
            section = PITHOS[name]
            text = (
                f" = {value!a}: v0.4 looks for Pithos' objects below archip_dir of {section} only"
            )
            todo = f"bring them there: archipmigrate relocate {words}"
            self._find(Level.WARNING, name, text, todo)
            self.comments.append(f"{name}: {todo}")

    def _rest(self) -> None:
        """Say what is left of the file."""
        unused = {"FILED_IMAGES", "FILED_MAPS", "RADOS_POOL_BLOCKS", "RADOS_POOL_MAPS"}
        for name, assigned in self._v03.names.items():
            if name in self._used:
                continue
            why = NO_SUCCESSOR.get(name) or (
                "of the storage that is not used" if name in unused else "no name of v0.3"
            )
            shown = f" = {assigned.value!a}" if assigned.value is not None else ""
            self.comments.append(f"{name}{shown}: {why}")
            matters = (name, assigned.value) != ("CEPH_CONF_FILE", CEPH) and name not in (
                "SPEC", "XSEGBD_START", "XSEGBD_END", *unused,
            )  # fmt: skip
            if matters:
                self._find(
                    Level.WARNING, name, f"{shown}: {why}: not converted", "see if it matters"
                )
        for line, source in self._v03.other:
            text = f"{source} assigns no literal: not converted"
            self.findings.append(ConfigFinding(line, Level.WARNING, text, "see if it matters"))
