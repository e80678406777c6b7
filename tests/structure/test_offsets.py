"""C where a long has 32 bits: files above 2 GiB, and times after 2038."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("macro", ["_FILE_OFFSET_BITS", "_TIME_BITS"])
def test_offsets_and_times_have_64_bits_wherever_it_is_built(macro: str) -> None:
    built = "".join((CHECKOUT / name).read_text() for name in ("setup.py", "pyproject.toml"))
    assert re.search(rf"{macro}\W+64", built)
