"""Where v0.3 and Pithos keep an object; v0.4's directories are tested with the sample share."""

from __future__ import annotations

import pytest

from archipmigrate.maps.format.placement import pithos_dir, v03_dir

DIGITS = b"0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"archip_foobar", (b"fo", b"ob", b"ar")),
        (b"archip_foobar_and_more", (b"fo", b"ob", b"ar")),
        (b"archip_" + DIGITS, (b"01", b"23", b"45")),
        (b"archip_archip_foobar", (b"ar", b"ch", b"ip")),
        (b"archip_\xff\n  .x", (b"\xff\n", b"  ", b".x")),
        (b"archip_a..bcd", (b"a.", b".b", b"cd")),
        (b"archip_fooba", None),
        (b"archip_", None),
        (b"archip", None),
        (b"foobar", None),
        (b"ARCHIP_foobar", None),
        (DIGITS, None),
        (b"", None),
    ],
)
def test_v03_directory_is_cut_from_the_name_after_the_prefix(
    name: bytes, path: tuple[bytes, ...] | None
) -> None:
    assert v03_dir(name) == path


@pytest.mark.parametrize("name", [b"archip_..foba", b"archip_fo..ba", b"archip_foba.."])
def test_v03_directory_never_leads_upward(name: bytes) -> None:
    assert v03_dir(name) is None


def test_pithos_directory_is_the_start_of_the_name() -> None:
    assert pithos_dir(DIGITS) == (b"01", b"23", b"45")


@pytest.mark.parametrize(
    "name", [DIGITS[1:], DIGITS + b"0", DIGITS.upper(), b"archip_" + DIGITS, DIGITS[:-1] + b"\n"]
)
def test_pithos_has_directories_for_digests_only(name: bytes) -> None:
    assert pithos_dir(name) is None
