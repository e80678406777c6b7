"""Files of sums: size and sha256 of each volume, as JSON that other tools can write and read.

    {"VOLUME": {"size": BYTES, "sha256": "HEX"}, ...}

Names that are not UTF-8 have surrogates (PEP 383), as JSON's escapes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import FatalError, UsageError
from ..journal.location import sync_directory

SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Sum:
    """The size of a volume in bytes, and the sha256 of its content in hex."""

    size: int
    sha256: str


Sums = Mapping[bytes, Sum]


def read_sums(path: Path) -> dict[bytes, Sum]:
    """Read a file of sums. Raises UsageError if it is none."""
    try:
        stored = json.loads(path.read_bytes())
        return {
            name.encode(errors="surrogateescape"): _sum(entry) for name, entry in stored.items()
        }
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is no file of sums, as `check --record` writes them") from None


def _sum(entry: Mapping[str, object]) -> Sum:
    size, digest = entry["size"], entry["sha256"]
    if not isinstance(size, int) or not isinstance(digest, str) or not SHA256.fullmatch(digest):
        raise ValueError(entry)
    return Sum(size, digest)


def check_writable(path: Path) -> None:
    """Check that *path* can be made, and is not there, before hours of work. Raises UsageError."""
    if os.path.lexists(path):
        raise UsageError(f"{path} is there, and may be the record of before: name another file")
    temporary = _temporary(path)
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def write_sums(path: Path, sums: Sums) -> None:
    """Write a file of sums, whole or not at all, durably. Raises FatalError."""
    stored = {
        name.decode(errors="surrogateescape"): {"size": found.size, "sha256": found.sha256}
        for name, found in sorted(sums.items())
    }
    temporary = _temporary(path)
    try:
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(stored, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.absolute().parent)
    except OSError as error:
        raise FatalError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
