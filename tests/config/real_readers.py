"""What the real readers of v0.3.5 and v0.4.4 said to variants of a configuration.

`data/config-behaviour.txt` and `data/config-v03-behaviour.txt` have a line for each: what was
changed, in words, and the outcome. Here is what these words stand for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

DATA = Path(__file__).parent / "data"
V04 = (DATA / "config-base.conf").read_text()
PACKAGED_V03 = (DATA / "config-v03-package-default.txt").read_text()
WIDTH = 35  # of the first column

Edit = Callable[[str], str]


def outcomes(name: str) -> dict[str, str]:
    """Return the outcome of each variant, by its words."""
    lines = (DATA / name).read_text().splitlines()
    return {line[:WIDTH].strip(): line[WIDTH:].strip() for line in lines}


def put(option: str, value: str, section: str = "blockerm") -> Edit:
    """Return what sets an option of a section: its line is replaced, or one is added."""

    def edit(text: str) -> str:
        head, name, rest = text.partition(f"[{section}]\n")
        body, bracket, tail = rest.partition("\n[")
        line = re.compile(rf"^{option} ?=.*$", re.MULTILINE)
        new = f"{option}={value}"
        body = line.sub(lambda _: new, body) if line.search(body) else f"{new}\n{body}"
        return head + name + body + bracket + tail

    return edit


def drop(option: str, section: str = "blockerm") -> Edit:
    """Return what removes an option of a section."""

    def edit(text: str) -> str:
        head, name, rest = text.partition(f"[{section}]\n")
        return head + name + re.sub(rf"(?m)^{option} ?=.*\n", "", rest, count=1)

    return edit


def both(*edits: Edit) -> Edit:
    """Return what makes several edits."""

    def edit(text: str) -> str:
        for one in edits:
            text = one(text)
        return text

    return edit


def replace(old: str, new: str) -> Edit:
    """Return what replaces a text that is there."""

    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return edit


MAPS, LOCKS = "/srv/s7/maps", "/srv/s7/locks"
EDITS_V04: dict[str, Edit] = {
    "as is": str,
    **{f"blockerm without {name}": drop(name) for name in (
        "type", "portno_start", "portno_end", "nr_ops", "nr_threads", "archip_dir", "fdcache",
        "direct", "umask", "lock_dir", "log_level",
    )},
    "nr_ops=100": put("nr_ops", "100"),
    "nr_ops=512 fdcache 512": put("nr_ops", "512"),
    "nr_ops=256 fdcache=512": put("nr_ops", "256"),
    "nr_threads=7": put("nr_threads", "7"),
    "log_level=4": put("log_level", "4"),
    **{f"umask={value}": put("umask", value) for value in ("022", "0o22", "27", "999x", "0")},
    **{label: put(*label.split("=")) for label in (
        "unique_str=node1", "unique_str=7", "prefix=archip_", "prefix=5", "pithos_migrate=yes",
        "pithos-migrate=True", "pithos_migrate=maybe", "pithos_migrate=1", "PITHOS_MIGRATE=True",
    )},
    "lock_dir missing dir": put("lock_dir", "/srv/none"),
    "archip_dir missing": put("archip_dir", "/srv/none"),
    "archip_dir trailing slash": put("archip_dir", f"{MAPS}/"),
    "archip_dir relative": put("archip_dir", "srv/maps"),
    "comment after value": put("direct", "True ; yes"),
    "hash after value": put("direct", "True # yes"),
    "comment after dir": put("archip_dir", f"{MAPS} ; here"),
    "percent in dir": put("archip_dir", "/srv/100%"),
    "percent in lock": put("lock_dir", "/srv/100%"),
    "unknown option": put("nonsense", "1"),
    "quoted dir": put("archip_dir", f'"{MAPS}"'),
    "duplicate option": replace(
        f"archip_dir={MAPS}\nfdcache=512\ndirect=True",
        f"archip_dir={MAPS}\nfdcache=512\ndirect=True\ndirect=False",
    ),
    "duplicate section": lambda text: f"{text}\n[blockerm]\nlog_level=1\n",
    "ROLES with poold, no section": put("ROLES", "blockerb blockerm mapperd vlmcd poold", "PEERS"),
    "ROLES with poold, section": both(
        put("ROLES", "blockerb blockerm mapperd vlmcd poold", "PEERS"),
        lambda text: (
            f"{text}\n[poold]\ntype=poold\nportno_start=1023\nportno_end=1023\nnr_ops=64\n"
        ),
    ),
    "ROLES two spaces": put("ROLES", "blockerb  blockerm mapperd vlmcd", "PEERS"),
    "ROLES commas": put("ROLES", "blockerb,blockerm mapperd vlmcd", "PEERS"),
    "no ORDER": drop("ORDER", "PEERS"),
    "ORDER nonsense": put("ORDER", "nonsense", "PEERS"),
    **{f"without {name}": drop(name, "ARCHIPELAGO")
       for name in ("USER", "GROUP", "BLKTAP_ENABLED", "UMASK")},
    **{f"without {name}": drop(name, "XSEG") for name in (
        "SEGMENT_PORTS", "SEGMENT_DYNPORTS", "SEGMENT_SIZE", "VTOOL_START", "VTOOL_END",
    )},
    "without ROLES": drop("ROLES", "PEERS"),
    "USER=nobody2": put("USER", "nobody2", "ARCHIPELAGO"),
    "GROUP none": put("GROUP", "nope", "ARCHIPELAGO"),
    "UMASK=007": put("UMASK", "007", "ARCHIPELAGO"),
    "DYNPORTS>=PORTS": put("SEGMENT_DYNPORTS", "2048", "XSEG"),
    "DYNPORTS=512 (ports 1000 above)": put("SEGMENT_DYNPORTS", "512", "XSEG"),
    "vlmcd overlaps blockerb": put("portno_end", "1000", "vlmcd"),
    "vtool overlaps": put("VTOOL_START", "1002", "XSEG"),
    "portno beyond": both(put("portno_start", "5000"), put("portno_end", "5000")),
    "start>end": put("portno_start", "2000", "vlmcd"),
    "tabs/colon": replace(f"archip_dir={MAPS}", f"archip_dir\t:\t{MAPS}"),
    "BOM": lambda text: f"\ufeff{text}",
    "CRLF": replace("\n", "\r\n"),
    "type=rados_blocker": put("type", "rados_blocker"),
    "type=rados + pool": both(put("type", "rados_blocker"), put("pool", "maps")),
    "type=bogus": put("type", "bogus"),
}  # fmt: skip

FILES_V03 = (
    PACKAGED_V03.replace('#STORAGE="files"\nSTORAGE="rados"', 'STORAGE="files"')
    .replace("#FILED", "FILED")
    .replace("#PITHOS", "PITHOS")
)


def assign(name: str, value: str) -> Edit:
    """Return what makes a file of v0.3 assign something else to a name."""
    return lambda text: re.sub(rf"(?m)^{name}=.*$", lambda _: f"{name}={value}", text)


def without(name: str) -> Edit:
    """Return what takes a name out of a file of v0.3."""
    return lambda text: re.sub(rf"(?m)^{name}=.*\n", "", text)


EDITS_V03: dict[str, Edit] = {
    "package default (rados)": lambda _: PACKAGED_V03,
    "files": str,
    "files, PITHOS empty": assign("PITHOS", '""'),
    "files, no PITHOS line": both(without("PITHOS"), without("PITHOSMAPS")),
    "files, FILED_MAPS missing dir": assign("FILED_MAPS", '"/srv/none"'),
    **{f"no {name}": without(name)
       for name in ("VERBOSITY_VLMC", "NR_OPS_VLMC", "SPEC", "BPORT", "STORAGE")},
    "NR_OPS=100": assign("NR_OPS_VLMC", "100"),
    "STORAGE=RADOS": assign("STORAGE", '"RADOS"'),
    "expression": assign("BPORT", "999 + 1"),
    "string port": assign("BPORT", '"1000"'),
    "comment after value": assign("BPORT", "1000 # here"),
    "shell syntax export": replace("BPORT=", "export BPORT="),
    "SPEC ports 512": assign("SPEC", '"segdev:xsegbd:512:5120:12"'),
    "VPORT_END<START": assign("VPORT_END", "400"),
    "overlap": assign("VPORT_END", "1000"),
    "spaces around =": replace("BPORT=1000", "BPORT = 1000"),
    "import os": lambda text: f"import os\n{text}",
}  # fmt: skip
