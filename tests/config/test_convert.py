"""v0.3's configuration as one of v0.4: each variant that the real reader was asked about."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipmigrate.config.blocker import OF_BLOCKS, OF_MAPS, read_config
from archipmigrate.config.check import check_config
from archipmigrate.config.convert import Converted, convert
from archipmigrate.config.findings import ConfigFinding, Level
from archipmigrate.config.host import AnyHost
from archipmigrate.config.ini import BadLine, Ini
from archipmigrate.config.v03 import read_v03
from archipmigrate.errors import UsageError
from tests.config.real_readers import EDITS_V03, FILES_V03, PACKAGED_V03, assign, both, outcomes

OUTCOMES = outcomes("config-v03-behaviour.txt")
# What v0.3 takes and v0.4 would not, and what only v0.3 refuses.
FOR_V03_ONLY = ("overlap", "expression")
FOR_V04_TOO = (
    "files, FILED_MAPS missing dir",
    "no VERBOSITY_VLMC",
    "no NR_OPS_VLMC",
    "SPEC ports 512",
)


def converted(text: str) -> Converted:
    return convert(read_v03(text.encode()), "/etc/default/archipelago")


def blockers(text: str) -> list[ConfigFinding]:
    return [found for found in converted(text).findings if found.level is Level.BLOCKER]


def test_every_variant_is_there() -> None:
    assert set(EDITS_V03) == set(OUTCOMES)


@pytest.mark.parametrize("label", OUTCOMES)
def test_what_v03_starts_with_becomes_what_v04_starts_with(label: str) -> None:
    is_converted = label in FOR_V04_TOO or (
        OUTCOMES[label].startswith("ok") and label not in FOR_V03_ONLY
    )
    if label == "shell syntax export":
        with pytest.raises(BadLine, match="export BPORT"):
            converted(EDITS_V03[label](FILES_V03))
        return
    made = converted(EDITS_V03[label](FILES_V03))
    assert made.blocked == (not is_converted)
    if is_converted:
        assert check_config(made.text, AnyHost()) == []


def test_values_of_v03_arrive() -> None:
    made = converted(FILES_V03)
    ini = Ini(made.text)
    assert ini.get("PEERS", "ROLES") == "blockerb blockerm mapperd vlmcd"
    assert [ini.get("blockerm", name) for name in ("portno_start", "portno_end", "nr_ops")] == [
        "1002", "1002", "512",
    ]  # fmt: skip
    assert [ini.get("blockerb", name) for name in ("log_level", "nr_threads", "fdcache")] == [
        "3", "512", "1024",
    ]  # fmt: skip
    assert [ini.get("vlmcd", name) for name in ("portno_start", "portno_end", "mapper_port")] == [
        "500", "999", "1001",
    ]  # fmt: skip
    assert [ini.get("XSEG", f"VTOOL_{end}") for end in ("START", "END")] == ["1003", "1022"]
    blocks, maps = (read_config(made.text, section) for section in (OF_BLOCKS, OF_MAPS))
    assert (blocks.archip_dir, maps.archip_dir) == ("/srv/archip/blocks", "/srv/archip/maps")
    assert (maps.user, maps.group, maps.umask, maps.lock_dir) == ("root", "root", 0o007, None)


def test_rados_pools_arrive() -> None:
    ini = Ini(converted(PACKAGED_V03).text)
    for section, pool in (("blockerb", "blocks"), ("blockerm", "maps")):
        assert (ini.get(section, "type"), ini.get(section, "pool")) == ("rados_blocker", pool)
        assert ini.get(section, "archip_dir") is None
    assert ini.get("ARCHIPELAGO", "USER") == "archipelago"


@pytest.mark.parametrize(
    ("name", "value", "section", "option", "found"),
    [
        ("BPORT", "01750", "blockerb", "portno_start", "1000"),
        ("BPORT", "1000L", "blockerb", "portno_start", "1000"),
        ("BPORT", "0x3e8", "blockerb", "portno_start", "1000"),
        ("BPORT", "'01000'", "blockerb", "portno_start", "1000"),
        ("NR_OPS_MAPPER", "100", "mapperd", "nr_ops", "128"),
        ("NR_OPS_BLOCKERB", "8", "blockerb", "fdcache", "512"),
        ("VERBOSITY_VLMC", "2", "vlmcd", "log_level", "2"),
        ("VERBOSITY_VLMC", '"7"', "vlmcd", "log_level", "3"),
        ("FILED_MAPS", '"/srv/0777 # 1L"', "blockerm", "archip_dir", "/srv/0777 # 1L"),
        ("FILED_MAPS", '"""/srv/m"""', "blockerm", "archip_dir", "/srv/m"),
        ("FILED_MAPS", '"/srv/" "m"', "blockerm", "archip_dir", "/srv/m"),
        ("FILED_MAPS", '"/srv/%m"', "blockerm", "archip_dir", "/srv/%m"),
        ("VTOOL", "1010", "XSEG", "VTOOL_END", "1022"),
        ("VTOOL", "400", "XSEG", "VTOOL_END", "419"),
        ("VTOOL", "490", "XSEG", "VTOOL_END", "499"),
        ("VTOOL", "1500", "XSEG", "SEGMENT_DYNPORTS", "2048"),
        ("VTOOL", "1500", "XSEG", "SEGMENT_PORTS", "4096"),
    ],
)
def test_value_is_read_as_python_2_has_it_and_adapted(
    name: str, value: str, section: str, option: str, found: str
) -> None:
    made = converted(assign(name, value)(FILES_V03))
    assert not made.blocked
    assert Ini(made.text).get(section, option) == found


def test_name_that_is_not_utf8_arrives() -> None:
    text = FILES_V03.encode().replace(b"/srv/archip/maps", b"/srv/\xff\xc3\xa9")
    made = convert(read_v03(text), "file")
    assert (
        read_config(made.text).archip_dir.encode(errors="surrogateescape") == b"/srv/\xff\xc3\xa9"
    )


@pytest.mark.parametrize(
    "value", [r"/srv/a\nb", "/srv/a ; b", "/srv/%(a)s", " /srv/a", r"/srv/\x00", "srv/a", ""]
)
def test_directory_that_v04_would_not_read_as_it_is_is_a_blocker(value: str) -> None:
    assert blockers(assign("FILED_MAPS", f"'{value}'")(FILES_V03))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("999 + 1", "is no literal"),
        ("int('1000')", "is no literal"),
        ("True", "is no literal"),
        ("10.5", "is no literal"),
        ("9" * 30, "is no literal"),
        ("'many'", "is no number"),
    ],
)
def test_value_that_is_no_literal_is_a_blocker_with_its_line(value: str, words: str) -> None:
    text = assign("BPORT", value)(FILES_V03)
    (found,) = blockers(text)
    assert words in found.text
    assert text.splitlines()[found.line - 1] == f"BPORT={value}"


def test_nothing_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    text = f"{FILES_V03}\nopen({str(mark)!r}, 'w')\nBPORT = open({str(mark)!r}, 'w') and 1000\n"
    found = converted(text).findings
    assert not mark.exists()
    assert [f.line for f in found if f.line > FILES_V03.count("\n")] == [
        FILES_V03.count("\n") + 2, FILES_V03.count("\n") + 3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    ["if True:\n    BPORT = 1000", "BPORT += 1", "for BPORT in (1,): pass", "(BPORT, x) = 1, 2"],
)
def test_name_that_is_assigned_in_any_other_way_is_no_literal(statement: str) -> None:
    assert any("BPORT is no literal" in f.text for f in blockers(f"{FILES_V03}\n{statement}\n"))


def test_last_assignment_counts() -> None:
    made = converted(f"BPORT = 1 + 1\n{FILES_V03}\nMBPORT = 1022\nMBPORT = 1002\n")
    assert not made.blocked
    assert Ini(made.text).get("blockerm", "portno_start") == "1002"


def test_what_has_no_successor_is_in_a_comment() -> None:
    edit = both(str, lambda text: f"{text}\nCEPH_CONF_FILE='/etc/ceph/other.conf'\nMINE=1\n")
    made = converted(edit(FILES_V03))
    comments = [line for line in made.text.splitlines() if line.startswith("# ")]
    for name in ("SPEC", "XSEGBD_START", "XSEGBD_END", "CEPH_CONF_FILE", "MINE", "RADOS_POOL_MAPS"):
        assert any(comment.startswith(f"# {name}") for comment in comments), name
    assert any("MINE" in found.text for found in made.findings)
    assert any("CEPH_CONF_FILE" in found.text for found in made.findings)


def test_directories_of_pithos_are_named_with_what_to_do() -> None:
    words = (
        "relocate --pithos-blocks '/srv/pithos/data/blocks' --pithos-maps '/srv/pithos/data/maps'"
    )
    made = converted(FILES_V03)
    assert words in made.text
    assert [found.text.split(" ")[0] for found in made.findings if words in found.todo] == [
        "PITHOS", "PITHOSMAPS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"BPORT=1000\nexport MPORT=1\n", 2),
        (b"BPORT=1000\n\n\0", 3),
        (b"print 'x'\n", 1),
        (b"A='''\nnever ends\n", 1),
        (b"\xef\xbb\xbfBPORT=1\n", 1),
        (b"  BPORT=1\n", 1),
        (b"A=089\n", 1),
    ],
)
def test_what_is_not_python_is_refused_with_its_line(content: bytes, line: int) -> None:
    with pytest.raises(BadLine) as caught:
        read_v03(content)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "content", [b"A=" + b"-" * 100_000 + b"1", b"A=" + b"(" * 5_000, b"[" * 200]
)
def test_deep_nesting_is_refused(content: bytes) -> None:
    with pytest.raises(UsageError):
        read_v03(content)


@given(
    st.lists(
        st.sampled_from([*FILES_V03.splitlines(), "'''", '"', "\\", "(", "0", "L", "=", "#", "é"])
    )
)
def test_any_file_is_converted_or_refused(lines: list[str]) -> None:
    with contextlib.suppress(UsageError):
        made = converted("\n".join(lines))
        assert made.blocked or not check_config(made.text, AnyHost())
