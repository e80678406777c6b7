"""What v0.4 would choke on, or silently ignore: each line that the real reader was asked about."""

from __future__ import annotations

import re

import pytest

from archipmigrate.config.blocker import read_config
from archipmigrate.config.check import check_config
from archipmigrate.config.findings import ConfigFinding, Level
from archipmigrate.errors import UsageError
from tests.config.real_readers import EDITS_V04, LOCKS, MAPS, V04, both, outcomes, put

OUTCOMES = outcomes("config-behaviour.txt")
# What the reader takes and the daemons then die of: no outcome of the reader's tells that.
DIES_LATER = ("unique_str=7", "DYNPORTS=512 (ports 1000 above)")


class Lab:
    """The host on which the real reader was asked."""

    def is_directory(self, path: str) -> bool:
        return path.rstrip("/") in (MAPS, LOCKS, "/srv/s7/blocks", "/var/log/archipelago")

    def has_user(self, name: str) -> bool:
        return name in ("root", "archipelago")

    def has_group(self, name: str) -> bool:
        return name in ("root", "archipelago")


def check(text: str) -> list[ConfigFinding]:
    return check_config(text, Lab())


def blockers(text: str) -> list[ConfigFinding]:
    return [finding for finding in check(text) if finding.level is Level.BLOCKER]


def test_every_variant_is_there() -> None:
    assert set(EDITS_V04) == set(OUTCOMES)


@pytest.mark.parametrize("label", OUTCOMES)
def test_v04_starts_exactly_if_there_is_no_blocker(label: str) -> None:
    starts = OUTCOMES[label].startswith("loaded ok") and label not in DIES_LATER
    assert bool(blockers(EDITS_V04[label](V04))) == (not starts)


@pytest.mark.parametrize("label", [label for label, said in OUTCOMES.items() if "dir='" in said])
def test_jobs_read_what_v04_reads(label: str) -> None:
    """Where it starts, and its maps are files: the directories and the umask."""
    found = re.search(r"'umask=(\d+)'.*lock='?([^',]*)'.*dir='(.*)'", OUTCOMES[label])
    assert found
    config = read_config(EDITS_V04[label](V04))
    # The words of the lab; the file has the directories of another share.
    renamed = {"/srv/archip/maps": MAPS, "/srv/archip/maps/": f"{MAPS}/"}
    assert config.archip_dir == renamed[found[3]]
    assert (config.lock_dir is None) == (found[2] == "None")
    assert config.umask == (int(found[1]) or 0o007)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("as is", ""),
        ("no ORDER", ""),
        ("nr_threads=7", "ignored: there are as many threads as nr_ops"),
        ("umask=27", "decimal, that is 0033"),
        ("umask=0", "ends as 007"),
        ("pithos-migrate=True", "ignored: v0.4 has no such option"),
        ("pithos_migrate=1", "not the same in both blockers"),
        ("unknown option", "ignored: v0.4 has no such option"),
        ("duplicate option", "given again: v0.4 takes this line, not line"),
        ("duplicate section", "given again"),
        ("ORDER nonsense", "ignored: daemons start in the order of ROLES"),
        ("type=rados + pool", "not that of blockerb"),
        ("comment after value", ""),
        ("CRLF", ""),
    ],
)
def test_what_v04_silently_ignores_is_a_warning(label: str, words: str) -> None:
    found = check(EDITS_V04[label](V04))
    assert bool(found) == bool(words)
    assert all(finding.level is Level.WARNING and finding.line for finding in found)
    assert any(words in finding.text for finding in found) or not words


@pytest.mark.parametrize(
    ("label", "todo"),
    [
        ("pithos-migrate=True", "write pithos_migrate"),
        ("hash after value", "`#` does not begin a comment"),
        ("quoted dir", "leave out the quotes"),
        ("nr_ops=512 fdcache 512", "write 1024"),
        ("ROLES commas", "write blockerb blockerm mapperd vlmcd"),
    ],
)
def test_finding_says_what_to_do(label: str, todo: str) -> None:
    assert any(todo in finding.todo for finding in check(EDITS_V04[label](V04)))


@pytest.mark.parametrize(
    ("label", "line"),
    [
        ("nr_ops=100", "nr_ops=100"),
        ("archip_dir relative", "archip_dir=srv/maps"),
        ("hash after value", "direct=True # yes"),
        ("blockerm without archip_dir", "[blockerm]"),
        ("vtool overlaps", "VTOOL_START=1002"),
        ("BOM", "\ufeff[ARCHIPELAGO]"),
    ],
)
def test_finding_names_the_line(label: str, line: str) -> None:
    text = EDITS_V04[label](V04)
    assert text.splitlines()[blockers(text)[0].line - 1] == line


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (put("archip_dir", "/srv/\0"), "there is a NUL in it"),
        (put("archip_dir", "%(none)s"), "must name an option"),
        (put("archip_dir", "%(archip_dir)s%(archip_dir)s"), "archip_dir"),
        (
            both(put("a0", "/x" * 40), *(put(f"a{n}", f"%(a{n - 1})s" * 40) for n in range(1, 9)),
                 put("archip_dir", "%(a5)s")),
            "longer than",
        ),
        (put("fdcache", "-1"), "below zero"),
        (put("umask", "01000"), "above 0777"),
        (put("blockerb_port", "1001", "mapperd"), "not the port of blockerb"),
        (put("portno_end", "-1"), "not a port"),
        (put("nr_ops", "9" * 10_000), "nr_ops"),
        (put("logfile", "/none/log"), "there is no such directory"),
    ],
)  # fmt: skip
def test_what_else_stops_v04_is_a_blocker_with_its_line(edit: object, words: str) -> None:
    assert callable(edit)
    found = blockers(edit(V04))
    assert any(words in finding.text and finding.line for finding in found), found


def test_value_of_the_next_lines_is_said_to_be_one() -> None:
    text = V04.replace(f"lock_dir={LOCKS}", f"lock_dir={LOCKS}\n  umask=022")
    assert "belong to the value" in blockers(text)[0].todo


@pytest.mark.parametrize("kind", ["file_blocker", "rados_blocker"])
def test_section_that_is_no_role_is_ignored(kind: str) -> None:
    found = check(f"{V04}\n[blockerx]\ntype={kind}\n")
    assert [finding.text for finding in found] == ["[blockerx]: ignored: no role of [PEERS] ROLES"]


def test_jobs_refuse_a_blocker_without_a_directory_and_name_its_line() -> None:
    text = EDITS_V04["blockerm without archip_dir"](V04)
    line = text.splitlines().index("[blockerm]") + 1
    with pytest.raises(UsageError, match=rf"line {line}: \[blockerm\] archip_dir is missing"):
        read_config(text)
