"""The commands: what is written, when, and how; exit statuses."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from archipmigrate.config import files
from archipmigrate.errors import FatalError, UsageError
from tests.config.real_readers import FILES_V03, V04, assign, put
from tests.support.inprocess import Program


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough."""
    return codec


@pytest.fixture
def dirs(tmp_path: Path) -> Path:
    """The directories that configurations name."""
    for name in ("blocks", "maps", "locks"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def v03(dirs: Path) -> Path:
    """A configuration of v0.3."""
    path = dirs / "default"
    text = FILES_V03.replace("/srv/archip", str(dirs))
    path.write_text(assign("PITHOSMAPS", '""')(assign("PITHOS", '""')(text)))
    return path


@pytest.fixture
def v04(dirs: Path) -> Path:
    """A configuration of v0.4."""
    path = dirs / "archipelago.conf"
    text = V04.replace("/srv/s7", str(dirs))
    path.write_text(put("GROUP", "root", "ARCHIPELAGO")(put("USER", "root", "ARCHIPELAGO")(text)))
    return path


def others(directory: Path) -> set[str]:
    """Return what is left over."""
    return {p.name for p in directory.iterdir()} - {"blocks", "maps", "locks", "state"}


def test_converted_file_is_checked_and_found_right(program: Program, v03: Path) -> None:
    out = v03.parent / "archipelago.conf"
    ended = program("config", "convert", v03, "-o", out)
    assert (ended.status, ended.err) == (0, "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert program("config", "check", out).status == 0
    assert others(v03.parent) == {"default", "archipelago.conf"}


def test_converted_file_is_printed(program: Program, v03: Path) -> None:
    shown = program("config", "convert", v03, "-o", "-")
    program("config", "convert", v03, "-o", v03.parent / "out")
    assert shown.out == (v03.parent / "out").read_text()


def test_file_that_is_there_is_replaced_with_force_only(program: Program, v03: Path) -> None:
    out = v03.parent / "archipelago.conf"
    out.write_text("[old]\n")
    out.chmod(0o640)
    refused = program("config", "convert", v03, "-o", out)
    assert refused.status == 1
    assert "-[old]" in refused.out.splitlines()
    assert "--force" in refused.err
    assert out.read_text() == "[old]\n"
    assert program("config", "convert", v03, "-o", out, "--force", "-n").status == 0
    assert out.read_text() == "[old]\n"
    assert program("config", "convert", v03, "-o", out, "--force").status == 0
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    again = program("config", "convert", v03, "-o", out)
    assert (again.status, again.out) == (0, f"{out} is so already\n")


def test_nothing_is_written_for_values_that_v04_refuses(program: Program, v03: Path) -> None:
    v03.write_text(v03.read_text().replace("BPORT=1000", "BPORT=500 + 500"))
    ended = program("config", "convert", v03, "-o", v03.parent / "out", "--force")
    assert ended.status == 5
    line = v03.read_text().splitlines().index("BPORT=500 + 500") + 1
    assert f"{v03}:{line}: blocker: BPORT is no literal: 'BPORT=500 + 500'" in ended.out
    assert others(v03.parent) == {"default"}


def test_what_this_host_has_not_is_a_warning_of_the_conversion(program: Program, v03: Path) -> None:
    (v03.parent / "maps").rmdir()
    ended = program("config", "convert", v03, "-o", v03.parent / "out")
    assert ended.status == 4
    assert "there is no such directory on this host" in ended.out
    assert (v03.parent / "out").exists()


@pytest.mark.parametrize("content", [b"export X=1\n", b"A=\0\n"])
def test_file_that_is_not_python_is_refused_with_its_line(
    program: Program, v03: Path, content: bytes
) -> None:
    v03.write_bytes(content)
    ended = program("config", "convert", v03, "-o", v03.parent / "out")
    assert ended.status == 2
    assert f"{v03}: line 1: " in ended.err


def test_option_is_set_and_the_rest_stays(program: Program, v04: Path) -> None:
    before = v04.read_text()
    v04.chmod(0o600)
    assert program("config", "set", "--config", v04, "-n", "log_dir=1").status == 2
    assert program("config", "set", "--config", v04, "-n", "pithos_migrate=True").status == 0
    assert v04.read_text() == before
    ended = program("config", "set", "--config", v04, "pithos_migrate=True", "blockerm.nr_ops=32")
    assert ended.status == 0
    assert "+nr_ops=32" in ended.out.splitlines()
    assert v04.read_text().count("pithos_migrate=True") == 2
    assert stat.S_IMODE(v04.stat().st_mode) == 0o600
    assert others(v04.parent) == {"archipelago.conf"}


@pytest.mark.parametrize(
    "setting", ["blockerb.nr_ops=100", "lock_dir=/srv/none", "USER=nobody2", "VTOOL_START=1"]
)
def test_value_that_v04_would_not_start_with_is_not_set(
    program: Program, v04: Path, setting: str
) -> None:
    before = v04.read_text()
    ended = program("config", "set", "--config", v04, setting)
    assert ended.status == 5
    assert "nothing was written" in ended.out
    assert v04.read_text() == before


def test_file_that_is_bad_already_can_be_mended_one_by_one(program: Program, v04: Path) -> None:
    v04.write_text(put("nr_ops", "100")(put("log_level", "9")(v04.read_text())))
    assert program("config", "set", "--config", v04, "blockerm.nr_ops=64").status == 0
    assert program("config", "check", v04).status == 5
    assert program("config", "set", "--config", v04, "blockerm.log_level=3").status == 0
    assert program("config", "check", v04).status == 0


def test_findings_are_printed_with_their_lines(program: Program, v04: Path) -> None:
    v04.write_text(put("umask", "27")(put("pithos-migrate", "True")(v04.read_text())))
    ended = program("config", "check", v04)
    lines = v04.read_text().splitlines()
    assert ended.status == 4
    assert f"{v04}:{lines.index('umask=27') + 1}: warning: [blockerm] umask = '27'" in ended.out
    assert "2 warnings" in ended.out.splitlines()[-1]
    objects = program("config", "check", "--json", v04).objects
    assert [o["type"] for o in objects] == ["version", "finding", "finding", "summary"]
    assert (objects[-1]["status"], objects[-1]["warnings"]) == ("warnings", 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("archip_dir=/srv/a\0b", "there is a NUL in it"),
        ("archip_dir=%(a)s\na=%(archip_dir)s%(archip_dir)s", "archip_dir"),
        ("nonsense", "no [section], no option and no comment"),
        ("archip_dir=/\x1b[31m", "archip_dir"),
    ],
)
def test_hostile_line_is_a_blocker_that_no_terminal_obeys(
    program: Program, v04: Path, line: str, words: str
) -> None:
    text = v04.read_text()
    old = next(old for old in text.splitlines() if old.endswith("/maps"))
    v04.write_text(text.replace(old, line))
    ended = program("config", "check", v04)
    number = text.splitlines().index(old) + 1
    assert ended.status == 5
    assert f"{v04}:{number}: blocker: " in ended.out
    assert words in ended.out
    assert "\x1b" not in ended.out
    for command in (("relocate", "-n"), ("mapfiles", "-n")):
        job = program(*command, "--config", v04)
        assert job.status in (1, 2)
        assert "\x1b" not in job.err


def test_what_is_no_file_is_refused(program: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"#" * (files.LARGEST + 1))
    (tmp_path / "loop").symlink_to("loop")
    for name, status in (("fifo", 2), ("large", 2), ("loop", 1), ("none", 1), (".", 2)):
        assert program("config", "check", tmp_path / name).status == status, name


def test_file_that_somebody_changes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_text("theirs")
    for old in ("ours", None):
        with pytest.raises(FatalError, match="changed it meanwhile"):
            files.replace_file(path, old, "new")
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["conf"]


def test_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path, target = tmp_path / "conf", tmp_path / "real" / "conf"
    target.write_text("old")
    path.symlink_to(target)
    files.replace_file(path, "old", "new")
    assert path.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("call", ["fsync", "rename", "link"])
def test_file_stays_as_it_is_if_a_call_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "conf"
    old = None if call == "link" else "old"
    if old:
        path.write_text(old)

    def fail(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(FatalError, match="No space left"):
        files.replace_file(path, old, "new")
    assert os.listdir(tmp_path) == (["conf"] if old else [])
    assert not old or path.read_text() == old


def test_file_of_another_owner_keeps_him(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    path = tmp_path / "conf"
    path.write_text("old")
    os.chown(path, 12, 34)
    files.replace_file(path, "old", "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


def test_environment_gives_options(program: Program, v04: Path) -> None:
    program.env = {"ARCHIPMIGRATE_JSON": "1"}
    assert json.loads(program("config", "check", v04).out.splitlines()[0])["type"] == "version"


def test_directory_is_refused_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        files.read_file(tmp_path)
