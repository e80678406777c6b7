"""Configurations that are odd or hostile: an error that names the option, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from archipmigrate.config.ini import Ini
from archipmigrate.errors import UsageError
from tests.support.inprocess import Program
from tests.support.program import Ended
from tests.support.situations import made

pytestmark = pytest.mark.privileged


@pytest.fixture
def backend(codec: str) -> str:
    """One is enough."""
    return codec


def configured(program: Program, path: Path, **options: str) -> Ended:
    """Look, as a configuration says; a traceback is a status that none has."""
    owner = {name: options.pop(name, "root") for name in ("USER", "GROUP")}
    sections = {"ARCHIPELAGO": owner, "blockerm": options}
    path.write_bytes(
        b"".join(
            f"[{section}]\n".encode()
            + "".join(f"{name} = {value}\n" for name, value in values.items()).encode()
            for section, values in sections.items()
        )
    )
    try:
        return program("mapfiles", "-n", "--config", path)
    except Exception as error:  # noqa: BLE001 -- that there is none is what is tested
        return Ended(-1, "", f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("option", ["archip_dir", "lock_dir", "unique_str", "USER", "GROUP"])
def test_configuration_with_a_nul_is_an_error_that_names_the_option(
    program: Program, maps: Path, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "conf"
    good = configured(program, path, archip_dir=str(maps))
    made(good.status == 0, "a configuration that serves")
    value = f"{maps}\0" if option.endswith("dir") else "root\0"
    ended = configured(program, path, **{"archip_dir": str(maps), option: value})
    assert ended.status == 2
    assert option in ended.err


def test_reference_to_a_reference_is_replaced() -> None:
    """The control."""
    text = "[s]\na = /srv\nb = %(a)s/archip\nc = %(b)s/maps\n"
    assert Ini(text).get("s", "c") == "/srv/archip/maps"


def test_references_that_grow_without_bound_are_refused() -> None:
    lines = [f"a{n} = " + f"%(a{n - 1})s" * 4 for n in range(1, 10)]
    ini = Ini("\n".join(["[s]", "a0 = /x", *lines]))
    grown = ""
    try:
        grown = ini.get("s", "a9") or ""
    except UsageError:
        return
    assert len(grown) < 1 << 16
