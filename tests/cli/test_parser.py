"""What a wrong command line is told: one line that says what to write instead, and the usage."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipmigrate.cli import options
from tests.support.inprocess import Program
from tests.support.program import GID, attrs


@pytest.fixture
def backend() -> str:
    """Options are the same for all."""
    return "python"


@pytest.mark.parametrize(
    ("words", "said", "usage"),
    [
        ("perms --dryrun", "perms: no option --dryrun; did you mean --dry-run?", "perms"),
        ("perms --dryrun /srv", "perms: no option --dryrun; did you mean --dry-run?", "perms"),
        ("perms --grou=root /srv", "perms: no option --grou; did you mean --group?", "perms"),
        ("perms --zzz /srv", "perms: no option --zzz", "perms"),
        ("perms -x /srv", "perms: no option -x", "perms"),
        ("perms /srv /mnt", "perms: '/mnt' is one argument too many", "perms"),
        ("perms", "perms: PATH is missing", "perms"),
        ("perms --jobs", "perms: --jobs: expected one argument", "perms"),
        ("verify --list /srv -n", "verify: no option -n", "verify"),
        ("mapfiles --max-ops 100", "mapfiles: no option --max-ops", "mapfiles"),
        ("mapfiles /srv", "mapfiles: maps are found by --config FILE, or --maps DIR", "mapfiles"),
        ("mapfiles show", "mapfiles show: VOLUME is missing", "mapfiles show"),
        ("config chek", "config: no command 'chek'; did you mean check?", "config"),
        ("permz", ": no command 'permz'; did you mean perms?", ""),
        ("help permz", ": no command 'permz'; did you mean perms?", ""),
        ("", ": COMMAND is missing", ""),
    ],
)
def test_mistake_is_told_in_a_line_with_the_usage_of_its_command(
    program: Program, words: str, said: str, usage: str
) -> None:
    ended = program(*words.split())
    first, second = ended.err.splitlines()
    assert (ended.status, ended.out) == (2, "")
    assert first.startswith(f"archipmigrate {said}".replace(" :", ":"))
    assert second.startswith(f"usage: archipmigrate {usage}".rstrip() + " [OPTIONS]")
    assert not list(program.state.iterdir())


@pytest.mark.parametrize("command", ["perms", "config check", "mapfiles show"])
def test_help_is_a_command_too(program: Program, command: str) -> None:
    ended = program("help", *command.split())
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == program(*command.split(), "--help").out
    assert ended.out.startswith(f"usage: archipmigrate {command} [OPTIONS]")


def test_version_has_a_short_option(program: Program) -> None:
    assert program("-V").out == program("--version").out != ""


@pytest.mark.parametrize(
    ("option", "text", "limits"),
    [
        ("--jobs", str(options.MOST_LANES + 1), "from 1 to 1,024, or auto"),
        ("--jobs", "0", "from 1 to 1,024, or auto"),
        ("--max-ops", "0", "from 1 to 1,000,000,000"),
        ("--max-ops", "9" * 30, "from 1 to 1,000,000,000"),
    ],
)
def test_number_out_of_range_is_told_the_range(
    program: Program, option: str, text: str, limits: str
) -> None:
    ended = program("perms", option, text, "/srv")
    assert ended.status == 2
    assert f"{option}: give a number {limits}, not '{text}'" in ended.err


# -- the environment


def test_command_line_replaces_a_list_of_the_environment(program: Program, share: Path) -> None:
    for name in ("a", "b", "c"):
        (share / name).mkdir()
    program.env = {"ARCHIPMIGRATE_EXCLUDE": "a:b"}
    assert program.perms(share, "-n").summary["skipped"] == 2
    assert program.perms(share, "-n", "--exclude", "c").summary["skipped"] == 1
    assert program.perms(share, "-n", "--exclude", "c", "--exclude", "b").summary["skipped"] == 2


def test_command_line_turns_a_switch_of_the_environment_off(program: Program, share: Path) -> None:
    program.env = {"ARCHIPMIGRATE_DRY_RUN": "1", "ARCHIPMIGRATE_NO_DEFAULT_EXCLUDES": "1"}
    before = attrs(share)
    assert program.perms(share).status == 0
    assert attrs(share) == before
    ended = program.perms(share, "--no-dry-run", "--default-excludes")
    assert (ended.status, ended.summary["changed"]) == (0, len(before))


def test_bad_value_of_the_environment_counts_only_where_it_is_used(
    program: Program, share: Path
) -> None:
    program.env = {"ARCHIPMIGRATE_JOBS": "many"}
    assert program("perms", "--help").status == 0
    assert program("perms", "--group", GID, share).status == 2
    assert program("perms", "--group", GID, "--jobs", 1, share).status == 0


def test_name_that_is_no_option_is_named(program: Program, share: Path) -> None:
    # Of another command; and the opposite of a switch, which is for the command line only.
    program.env = {
        "ARCHIPMIGRATE_JOB": "1",
        "ARCHIPMIGRATE_PITHOS_DB": "",
        "ARCHIPMIGRATE_PROGRESS": "0",
    }
    ended = program.perms(share)
    assert ended.status == 0
    assert ended.err.count("warning") == 2
    assert "ARCHIPMIGRATE_PROGRESS in the environment is no option" in ended.err
    assert "ARCHIPMIGRATE_JOB in the environment is no option" in ended.err
    assert "did you mean ARCHIPMIGRATE_JOBS?" in ended.err


def test_options_exclude_each_other_wherever_they_come_from(
    program: Program, tmp_path: Path
) -> None:
    program.env = {
        "ARCHIPMIGRATE_SIZES": str(tmp_path / "sizes.csv"),
        "ARCHIPMIGRATE_PITHOS_DB": "sqlite:////nowhere",
    }
    ended = program("mapfiles", "-n", "--maps", tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "archipmigrate: ARCHIPMIGRATE_SIZES and ARCHIPMIGRATE_PITHOS_DB exclude each other: unset "
        "one of them\n"
    )
    # One of the command line replaces that of the environment.
    (tmp_path / "sizes.csv").touch()
    del program.env["ARCHIPMIGRATE_SIZES"]
    ended = program("mapfiles", "-n", "--maps", tmp_path, "--sizes", tmp_path / "sizes.csv")
    assert ended.status == 0, ended.err
