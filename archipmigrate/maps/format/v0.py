"""The map format of Pithos: digests of 32 bytes, one after another. Pure: bytes in, a verdict out.

Such a file does not say what it is, or how large the volume is; the size comes from Pithos'
database. So all that can be checked is whether the two fit: as many digests as the size needs, none
of them all NULs, and only NULs (padding) after them.
"""

from __future__ import annotations

from .v1 import object_count

DIGEST_SIZE = 32
_NULS = bytes(DIGEST_SIZE)


class FitV0:
    """Reads a map once, in chunks of any length, and then tells which sizes it fits.

    Keeps less than one digest from one chunk to the next.
    """

    def __init__(self) -> None:
        self.digests = 0  # before the first one that is all NULs
        self._ended = False  # that one was read: padding follows
        self._dirty = False  # the padding is not all NULs
        self._partial = b""  # the beginning of a digest

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the map."""
        if not self._ended:
            chunk = self._partial + chunk
            at = _first_nuls(chunk)
            self._ended = at >= 0
            if not self._ended:
                at = len(chunk) - len(chunk) % DIGEST_SIZE
                self._partial = chunk[at:]
            self.digests += at // DIGEST_SIZE
            chunk = chunk[at:]
        if self._ended and not self._dirty:
            self._dirty = chunk != bytes(len(chunk))

    def misfit(self, size: int) -> str | None:
        """Return why the map is not that of a volume of *size* bytes; None if it may be."""
        if size < 0:
            return f"a size of {size} bytes"
        if self._dirty:
            return f"more than NULs after the first {self.digests} digests"
        if not self._ended and self._partial.strip(b"\0"):
            return f"a part of a digest after the first {self.digests}"
        if self.digests != object_count(size):
            return f"{self.digests} digests, not the {object_count(size)} of {size} bytes"
        return None


def _first_nuls(digests: bytes) -> int:
    """Return where the first whole digest that is all NULs begins; -1 if none is."""
    # One find instead of a comparison for each digest: 32 NULs across two of them are rare.
    at = digests.find(_NULS)
    while at >= 0:
        at += -at % DIGEST_SIZE
        if digests.startswith(_NULS, at):
            return at
        at = digests.find(_NULS, at + DIGEST_SIZE)
    return -1
