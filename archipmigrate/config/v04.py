"""What v0.4 reads of its configuration: sections, options, and what each takes. Pure.

As `loadrc`, `createDict` and `check_conf` of python/archipelago/common.py of v0.4.4 have it, and
the daemons that it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .blocker import FILES, HIGHEST_UMASK, RADOS, number

GLOBAL, SEGMENT, PEERS = "ARCHIPELAGO", "XSEG", "PEERS"  # sections
BLOCKERB, BLOCKERM, MAPPERD, VLMCD = "blockerb", "blockerm", "mapperd", "vlmcd"  # roles
ROLES = (BLOCKERB, BLOCKERM, MAPPERD, VLMCD)
TRUE, FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")  # of Python 2's getboolean
# What Python 2's int(text) takes.
DECIMAL = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
MOST_DIGITS = 20
HIGHEST_LOG_LEVEL = 3

Value = int | bool | str


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its name as v0.4's package writes it, and what reads its value.

    `read` raises ValueError, whose text completes "NAME = VALUE: ". v0.4 reads an option that is
    not `read_by_v04` and does nothing with it, or does not read it.
    """

    name: str
    read: Callable[[str], Value]
    required: bool = False
    read_by_v04: bool = True


def text(value: str) -> str:
    """Take any text."""
    return value


def integer(value: str) -> int:
    """Read what Python 2's int() takes: decimal, also with zeros before it."""
    if not DECIMAL.fullmatch(value) or len(value) > MOST_DIGITS:
        raise ValueError("not a decimal number")
    return int(value)


def boolean(value: str) -> bool:
    """Read what Python 2's getboolean takes."""
    if value.lower() not in TRUE + FALSE:
        raise ValueError("neither True nor False")
    return value.lower() in TRUE


def umask(value: str) -> int:
    """Read a umask: decimal without a zero before it."""
    mask = number(value)
    if mask is None:
        raise ValueError("not a umask: write it as 007")
    if mask > HIGHEST_UMASK:
        raise ValueError("above 0777")
    return mask


def log_level(value: str) -> int:
    """Read a log level."""
    level = integer(value)
    if not 0 <= level <= HIGHEST_LOG_LEVEL:
        raise ValueError("not 0 (errors) to 3 (debug)")
    return level


def operations(value: str) -> int:
    """Read a number of operations, a power of two."""
    operations = integer(value)
    if operations < 1 or operations & operations - 1:
        raise ValueError("not a power of two")
    return operations


def positive(value: str) -> int:
    """Read a number from 1 on."""
    found = integer(value)
    if found < 1:
        raise ValueError("not a number from 1 on")
    return found


def port(value: str) -> int:
    """Read the number of a port."""
    found = integer(value)
    if found < 0:
        raise ValueError("not a port: those are numbers from 0 on")
    return found


def unusable(value: str) -> int:
    """Refuse what v0.4 reads as a number, and then cannot start a daemon with."""
    integer(value)
    raise ValueError("a number, which `archipelago start` fails to pass on; leave the option out")


SECTIONS = {
    GLOBAL: (
        Option("USER", text, required=True),
        Option("GROUP", text, required=True),
        Option("BLKTAP_ENABLED", boolean, required=True),
        Option("UMASK", umask),
    ),
    SEGMENT: (
        Option("SEGMENT_PORTS", positive, required=True),
        Option("SEGMENT_DYNPORTS", positive, required=True),
        Option("SEGMENT_SIZE", positive, required=True),
        Option("VTOOL_START", port, required=True),
        Option("VTOOL_END", port, required=True),
    ),
    PEERS: (
        Option("ROLES", text, required=True),
        Option("ORDER", text, read_by_v04=False),
    ),
}
OF_ALL_TYPES = (
    Option("type", text, required=True),
    Option("portno_start", port, required=True),
    Option("portno_end", port, required=True),
    Option("nr_ops", operations, required=True),
    Option("log_level", log_level),
    Option("umask", umask),
    Option("logfile", text),
    Option("threshold", integer),
)
TYPES = {
    FILES: (
        *OF_ALL_TYPES,
        Option("nr_threads", integer, required=True, read_by_v04=False),
        Option("archip_dir", text, required=True),
        Option("lock_dir", text),
        Option("fdcache", integer),
        Option("direct", boolean),
        Option("pithos_migrate", boolean),
        Option("unique_str", unusable),
        Option("prefix", unusable),
    ),
    RADOS: (
        *OF_ALL_TYPES,
        Option("pool", text, required=True),
        Option("cephx_id", text),
        Option("nr_threads", positive),
    ),
    "mapperd": (
        *OF_ALL_TYPES,
        Option("blockerb_port", port, required=True),
        Option("blockerm_port", port, required=True),
    ),
    "vlmcd": (
        *OF_ALL_TYPES,
        Option("blocker_port", port, required=True),
        Option("mapper_port", port, required=True),
    ),
}
# Where requests go: the port of which role an option must name.
TARGETS = {
    (MAPPERD, "blockerb_port"): BLOCKERB,
    (MAPPERD, "blockerm_port"): BLOCKERM,
    (VLMCD, "blocker_port"): BLOCKERB,
    (VLMCD, "mapper_port"): MAPPERD,
}
