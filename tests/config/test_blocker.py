"""The blocker's configuration: read as v0.4, a Python 2 program, reads it.

The values expected of `Ini` are those that the ConfigParser of Python 2.7.18 gave.
"""

from __future__ import annotations

import pytest

from archipmigrate.config.blocker import BlockerConfig, read_config
from archipmigrate.config.ini import Ini
from archipmigrate.errors import UsageError

MAPS = "[blockerm]\narchip_dir = /srv/archip/maps\n"
# The package's own file, shortened.
PACKAGED = """\
[ARCHIPELAGO]
# Switch peers to that user/group id
USER=archipelago
GROUP=synnefo
BLKTAP_ENABLED=True

[PEERS]
ROLES=blockerb blockerm mapperd vlmcd

[blockerb]
type=file_blocker
archip_dir=/srv/archip/blocks
lock_dir=/not/this/one

[blockerm]
type=file_blocker
portno_start=1002
portno_end=1002
nr_ops=64
archip_dir=/srv/archip/other
lock_dir=/srv/archip/locks
umask=022
"""


def test_config_of_the_package_is_read() -> None:
    assert read_config(PACKAGED) == BlockerConfig(
        archip_dir="/srv/archip/other",
        lock_dir="/srv/archip/locks",
        user="archipelago",
        group="synnefo",
        umask=0o022,
        unique_str=None,
        kind="file_blocker",
        blocks_dir="/srv/archip/blocks",
    )


def test_config_has_defaults_for_missing_options() -> None:
    assert read_config("[blockerm]\narchip_dir = /srv/archip/maps") == BlockerConfig(
        archip_dir="/srv/archip/maps",
        lock_dir=None,
        user="archipelago",
        group="archipelago",
        umask=0o007,
        unique_str=None,
        kind="file_blocker",
    )


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("", None),
        ("[blockerb]", None),
        ("[blockerb]\narchip_dir = /data", "/data"),
        ("[blockerb]\ntype = rados_blocker\npool = blocks", None),
        ("[blockerb]\narchip_dir = data", None),
    ],
)
def test_directory_of_objects_is_that_of_their_blocker(section: str, path: str | None) -> None:
    assert read_config(f"[blockerm]\narchip_dir = /m\n{section}\n").blocks_dir == path


def test_empty_lock_dir_and_unique_str_are_none() -> None:
    config = read_config(f'{MAPS}lock_dir =\nunique_str = ""\n')
    assert (config.lock_dir, config.unique_str) == (None, None)


def test_unique_str_is_kept() -> None:
    assert read_config(f"{MAPS}unique_str = node1_7\n").unique_str == "node1_7"


def test_path_that_is_not_utf8_is_kept() -> None:
    text = b"[blockerm]\narchip_dir = /srv/\xff\xc3\xa9\n".decode(errors="surrogateescape")
    assert read_config(text).archip_dir.encode(errors="surrogateescape") == b"/srv/\xff\xc3\xa9"


@pytest.mark.parametrize(
    ("text", "umask"),
    [
        ("007", 0o007),
        ("0o007", 0o007),
        ("0O27", 0o027),
        ("07", 0o007),
        ("22", 22),  # decimal, for v0.4
        ("0x1f", 0x1F),
        ("0b11", 0b11),
        ("0777", 0o777),
        ("0", 0o007),  # not set, for v0.4
    ],
)
def test_umask_is_read_as_python_2_reads_numbers(text: str, umask: int) -> None:
    assert read_config(f"{MAPS}umask = {text}\n").umask == umask


@pytest.mark.parametrize(
    "text", ["", "rwx", "08", "0o8", "-7", "7L", "0_7", "01000", "512", "\u0667"]
)
def test_bad_umask_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"\[blockerm\] umask"):
        read_config(f"{MAPS}umask = {text}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"no section \[blockerm\]"),
        ("[blockerb]\narchip_dir = /srv\n", r"no section \[blockerm\]"),
        ("[BLOCKERM]\n", r"no section \[blockerm\]"),
        ("[blockerm]\ntype = rados_blocker\n", "finalize_upgrade_0.4"),
        ("[blockerm]\ntype = mapperd\n", "'mapperd'"),
        ("[blockerm]\narchip_dir = srv/maps\n", "archip_dir = 'srv/maps': not an absolute path"),
        ("[blockerm]\n", r"line 1: \[blockerm\] archip_dir is missing"),
        ("[blockerm]\narchip_dir =\n", "archip_dir = '': not an absolute path"),
        (f"{MAPS}lock_dir = ./locks\n", "lock_dir = './locks': not an absolute path"),
        (f"[ARCHIPELAGO]\nUSER =\n{MAPS}", "USER is empty"),
        ("[blockerm]\n\nnonsense\n", "line 3: no .*: 'nonsense'"),
        ("[blockerm]\n indented = 1\n", "line 2: no "),
        ("# first\narchip_dir = /srv\n", r"line 2: comes before any \[section\]"),
        ("\ufeff[blockerm]\n", r"line 1: comes before any \[section\]: '\\ufeff"),
        (f"{MAPS}lock_dir = /%(nothing)s\n", r"\[blockerm\] lock_dir = '/%\(nothing\)s'"),
    ],
)
def test_error_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(text)


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("lock_dir = /a", "/a"),
        ("LOCK_Dir : /a", "/a"),
        ("lock_dir=/a;b", "/a;b"),
        ("lock_dir = /a ; b", "/a"),
        ("lock_dir = /a;b ;c", "/a;b ;c"),  # only the first ; counts
        ("lock_dir = ;b", ";b"),
        ("lock_dir = ;b\r", ""),  # before the first character comes the last one
        ("lock_dir = /a # b", "/a # b"),
        ("lock_dir = /a\r", "/a"),
        ("lock_dir = /a\nrem lock_dir = /b", "/a"),
        ("lock_dir = /a\n; lock_dir = /b\n# lock_dir = /b", "/a"),
        ("lock_dir = /a\n  # b", "/a\n# b"),  # no comment but more of the value
        ("lock_dir = /a\n\n  b", "/a\nb"),
        ("lock_dir = /a\nlock_dir = /b", "/b"),
        ("lock_dir = /a\n[blockerb]\nlock_dir = /b\n[blockerm]\numask = 007", "/a"),
        ("lock_dir = /a\n[blockerm] again\nlock_dir = /b", "/b"),
        ("[DEFAULT]\nlock_dir = /d", "/d"),
        ("lock_dir = /a\n[DEFAULT]\nlock_dir = /d", "/a"),
        ("lock_dir = 100%", "100%"),
        ("lock_dir = %%", "%%"),  # nothing to replace: not touched
        ("top = /a\nlock_dir = %(TOP)s/%%b", "/a/%b"),
        ("top = %(more)s\nmore = /m\nlock_dir = %(top)s", "/m"),
        ("lock_dir = /%(__name__)s", "/blockerm"),
        ("other = /a", None),
    ],
)
def test_ini_is_read_as_python_2_reads_it(lines: str, value: str | None) -> None:
    assert Ini(f"[blockerm]\n{lines}\n").get("blockerm", "lock_dir") == value


@pytest.mark.parametrize("value", ["%(a)", "%(a)d", "%(lock_dir)s", "100% %(a)s", "%(b)s"])
def test_reference_that_cannot_be_replaced_is_refused(value: str) -> None:
    ini = Ini(f"[blockerm]\na = 1\nlock_dir = {value}\n")
    with pytest.raises(UsageError, match="must name an option"):
        ini.get("blockerm", "lock_dir")
