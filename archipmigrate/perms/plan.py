"""Plans: what a dry run would change, in a file that is kept, shown and compared.

    file    MAGIC, then a zlib stream of frames
    frame   u32 length, that many bytes; the first is JSON, what the plan is of (`PlanHeader`), the
            others are packed changes (`packed.changes`), one a unit of the dry run, in any order
    end     u32 0, u64 number of changes, u64 XXH3 of everything in the stream before it

Little-endian. The number in MAGIC is the version. Plans are written and read frame by frame,
however many entries they list. A plan has its name only once it is complete.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

from xxhash import xxh3_64

from ..errors import FatalError, UsageError
from ..packed.changes import Change, Flag, read_changes
from ..ui.text import as_json

MAGIC = b"archipmigrate plan 1\n"
LENGTH = struct.Struct("<I")
END = struct.Struct("<QQ")
LEVEL = 3  # of zlib: 6 takes three times as long for a tenth less
READ = 1 << 20
MOST_FRAME = 1 << 28  # bytes; a unit has a hundredth of it


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """What a plan is of: the share, by identity and path, the settings, and when it was made."""

    share: str
    path: str
    created: str
    settings: Mapping[str, Any]


class PlanWriter:
    """Writes a plan; call `close` in any case."""

    def __init__(self, path: Path, header: PlanHeader) -> None:
        """Begin a plan that will be called *path*. Raises UsageError."""
        if path.exists() and not path.is_file():
            raise UsageError(f"--save {path} is there, and is no file")
        self._path = path
        self._new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        self._packer = zlib.compressobj(LEVEL)
        self._sum = xxh3_64()
        self._error = ""
        self._left = self._number = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file: IO[bytes] = open(os.open(self._new, flags, 0o600), "wb")  # noqa: SIM115 -- `close` does
        except OSError as error:
            raise UsageError(f"--save {path}: {error.strerror}") from None
        self._keep(MAGIC)
        self._frame(as_json(asdict(header)).encode())

    def add(self, changes: bytes, number: int) -> None:
        """Add the packed changes of a unit, *number* of which are not dropped.

        What goes wrong is raised by `finish`: nothing here ends a session.
        """
        self._number += number
        self._frame(changes)

    def finish(self) -> None:
        """Give the plan its name, durably. Raises FatalError."""
        self._pack(LENGTH.pack(0))
        self._keep(self._packer.compress(END.pack(self._number, self._sum.intdigest())))
        self._keep(self._packer.flush())
        if not self._error:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._new.replace(self._path)
                _sync_directory(self._path.parent)
            except OSError as error:
                self._error = error.strerror or str(error)
        if self._error:
            raise FatalError(f"the plan {self._path} cannot be written: {self._error}")

    def close(self) -> None:
        """Close the file; remove it, unless it is finished."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._new.unlink()

    def _frame(self, body: bytes) -> None:
        self._pack(LENGTH.pack(len(body)))
        self._pack(body)

    def _pack(self, body: bytes) -> None:
        self._sum.update(body)
        self._keep(self._packer.compress(body))

    def _keep(self, packed: bytes) -> None:
        if self._error:
            return
        try:
            self._file.write(packed)
        except OSError as error:
            self._error = error.strerror or str(error)


class Plan:
    """A plan that is read, once, from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """Open a plan. Raises UsageError if it is none, or others may have written it."""
        self.path = path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        self._file = open(fd, "rb")  # noqa: SIM115 -- `close` does
        self._unpacker = zlib.decompressobj()
        self._sum = xxh3_64()
        try:
            self._check_owner(os.fstat(fd))
            if self._file.read(len(MAGIC)) != MAGIC:
                raise UsageError(f"{path} is no plan, or one of another version")
            self.header = _header(json.loads(self._frame()))
        except (LookupError, TypeError, ValueError):
            self.close()
            raise self._damaged("what it is of cannot be read") from None
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[bytes]:
        """Yield the packed changes, frame by frame. Raises UsageError if it is damaged."""
        number = 0
        while body := self._frame():
            try:
                number += sum(1 for _ in _listed(body))
            except ValueError as error:
                raise self._damaged(str(error)) from None
            yield body
        digest = self._sum.intdigest()
        if END.unpack(self._take(END.size)) != (number, digest):
            raise self._damaged("its checksum is wrong")
        if not self._unpacker.eof or self._unpacker.unused_data or self._file.read(1):
            raise self._damaged("something follows its end")

    def changes(self) -> Iterator[Change]:
        """Yield the changes. Raises UsageError, perhaps at the end only, if it is damaged."""
        for body in self.frames():
            yield from _listed(body)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_owner(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{self.path} is no file")
        if found.st_uid != os.geteuid():
            raise UsageError(
                f"{self.path} belongs to another user: only a plan of your own is read"
            )
        if found.st_mode & 0o022:
            raise UsageError(f"{self.path} can be written by others: make the plan again")

    def _frame(self) -> bytes:
        head = self._take(LENGTH.size)
        self._sum.update(head)
        (length,) = LENGTH.unpack(head)
        if length > MOST_FRAME:
            raise self._damaged("a part of it is too long")
        body = self._take(length)
        self._sum.update(body)
        return body

    def _take(self, size: int) -> bytes:
        """Return the next *size* bytes of the stream."""
        found = bytearray()
        try:
            while len(found) < size:
                packed = self._unpacker.unconsumed_tail or self._file.read(READ)
                if not packed:
                    raise self._damaged("it is cut off")
                found += self._unpacker.decompress(packed, size - len(found))
        except zlib.error as error:
            raise self._damaged(str(error)) from None
        return bytes(found)

    def _damaged(self, why: str) -> UsageError:
        return UsageError(f"the plan {self.path} is damaged ({why}): make it again")


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _header(stored: Mapping[str, Any]) -> PlanHeader:
    # A path that is no text has its bytes beside it.
    return PlanHeader(**{field.name: stored[field.name] for field in fields(PlanHeader)})


def _listed(body: bytes) -> Iterator[Change]:
    return (change for change in read_changes(body) if not change.flags & Flag.DROPPED)
