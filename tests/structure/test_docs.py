"""The documents: links lead somewhere, and what they name is there."""

from __future__ import annotations

import argparse
import re
import sqlite3
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import archipmigrate
from archipmigrate.cli.main import COMMANDS
from archipmigrate.cli.parser import Parser, add_opposites
from archipmigrate.journal.store import Journal, RunHeader
from archipmigrate.locks import tables as of_locks
from archipmigrate.maps.journal import tables as of_maps
from archipmigrate.prelink import tables as of_prelink
from archipmigrate.relocate import tables as of_relocate

PROJECT = Path(__file__).parents[2]
DESIGN = PROJECT / "docs" / "design"
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
SOURCE = re.compile(r"[\w*./-]+\.(?:py|c|h|sh)\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
# Options of other programs that documents show.
FOREIGN = {
    "--drained",
    "--force-multiple",
    "--primary",
    "--property",
    "--signal",
    "--unit",
    "--version",
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pages
def test_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if ":" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link} leads to no heading"


@pages
def test_source_file_that_is_named_is_there(page: Path) -> None:
    roots = (PROJECT / name for name in ("archipmigrate", "native", "tests", "benchmarks", "docs"))
    files = [*PROJECT.glob("*.py"), *(path for root in roots for path in root.rglob("*.*"))]
    missing = {
        name
        for span in SPAN.findall(page.read_text())
        for name in SOURCE.findall(span)
        if "NAME" not in name and not any(path.match(name) for path in files)
    }
    assert not missing


@pages
def test_option_that_is_named_is_one(page: Path) -> None:
    named = set(OPTION.findall(page.read_text()))
    assert named <= {*options(), *FOREIGN}


def options() -> Iterator[str]:
    """Yield the options of all commands."""
    top = Parser("archipmigrate")
    commands = top.add_subparsers()
    for command in COMMANDS:
        import_module(f"archipmigrate.cli.{command}").add_parser(commands)
    add_opposites(top)
    parsers = list(commands.choices.values())
    for parser in parsers:  # which grows by the commands below a command
        for action in parser._actions:  # argparse has no public list
            yield from action.option_strings
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()


def test_design_has_a_row_for_every_room() -> None:
    rooms = re.findall(r"^    (\S+?/?),?\s", archipmigrate.__doc__ or "", re.MULTILINE)
    assert len(rooms) > 10
    text = (DESIGN / "README.md").read_text()
    rows = {name for row in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
            for name in re.findall(r"`([^`]+)`", row)}  # fmt: skip
    assert {room.rstrip("/") for room in rooms} - {row.rstrip("/") for row in rows} == set()


@pytest.mark.parametrize(
    "job", [of_maps, of_relocate, of_prelink, of_locks], ids=lambda job: job.__name__
)
def test_format_of_the_journal_has_every_column(tmp_path: Path, job: ModuleType) -> None:
    path = tmp_path / "run.journal"
    journal = Journal(path, new=True)
    journal.commit([job.prepare_tables])
    journal.close()
    with sqlite3.connect(path) as database:
        columns = database.execute(
            "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_info(t.name) c "
            "WHERE t.type = 'table'"
        ).fetchall()
    text = (DESIGN / "journal.md").read_text()
    assert columns
    assert [name for (name,) in columns if f"`{name}`" not in text] == []


def test_format_of_the_journal_has_every_field_of_the_header() -> None:
    text = (DESIGN / "journal.md").read_text()
    assert [name for name in RunHeader.__dataclass_fields__ if f"`{name}`" not in text] == []
