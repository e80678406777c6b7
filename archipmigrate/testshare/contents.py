"""What the volumes of a v0.3 share contain. Pure: all of it follows from the numbers given.

Every object depends on the seed, its volume and its number, and on nothing else: the content of a
volume is known without reading the share.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from ..layout.names import PREFIX, v03_data_name
from ..maps.format import v1

WRITTEN, UNWRITTEN = -1, -2  # what an object may be, beside the number of a block of Pithos
CLONES = 5  # every fifth volume was made from an image
CLONED_BLOCKS = 3  # of the image
LEAST_BLOCK = 16  # bytes: Pithos stores no empty blocks
SECTOR = 512  # bytes: sizes of volumes are multiples of it
ZEROS = bytes(1 << 20)


def part_of(total: int, number: int, parts: int) -> range:
    """Return part *number* of *total* things divided into *parts*."""
    return range(total * number // parts, total * (number + 1) // parts)


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume without its prefix, its size in bytes, and what each of its objects is."""

    name: bytes
    size: int
    objects: list[int]

    def length(self, number: int) -> int:
        """Return how many bytes of an object belong to the volume."""
        return min(v1.OBJECT_SIZE, self.size - number * v1.OBJECT_SIZE)


@dataclass(frozen=True, slots=True)
class Contents:
    """How much there is: written `objects` in `volumes`, `images` of Pithos of `blocks` blocks.

    A written object has 0 to `most` bytes.
    """

    objects: int
    volumes: int
    images: int
    blocks: int
    most: int
    seed: int

    def volume(self, number: int) -> Volume:
        """Return a volume: about one of its objects in four was never written.

        One that was made from an image refers to the first blocks of that, the very first excepted,
        which was written to since.
        """
        name = b"vol%06d" % number
        rng = self._rng(name)
        count = len(part_of(self.objects, number, self.volumes))
        found = [WRITTEN] * count + [UNWRITTEN] * (count // 3 + 1)
        rng.shuffle(found)
        if self.images and number % CLONES == 0:
            image = self.image(number // CLONES % self.images)
            if count:
                found.remove(WRITTEN)
            found = [WRITTEN if count else UNWRITTEN, *image[1:CLONED_BLOCKS], *found]
        size = len(found) * v1.OBJECT_SIZE
        if number % 3 == 2:
            size -= rng.randrange(SECTOR, v1.OBJECT_SIZE, SECTOR)
        return Volume(name, size, found)

    def image(self, number: int) -> range:
        """Return the numbers of an image's blocks."""
        return part_of(self.blocks, number, self.images)

    def written(self, volume: bytes, number: int) -> bytes:
        """Return what was written to an object of a volume."""
        rng = self._rng(volume, number)
        return rng.randbytes(rng.randint(0, self.most))

    def block(self, number: int) -> bytes:
        """Return a block of Pithos, which ends in no NUL: Pithos cuts them off."""
        rng = self._rng(b"pithos", number)
        return rng.randbytes(rng.randint(LEAST_BLOCK, max(LEAST_BLOCK, self.most)) - 1) + b"."

    def digest(self, number: int) -> bytes:
        """Return the digest that a block of Pithos is named by."""
        return hashlib.sha256(self.block(number)).digest()

    def map_of(self, volume: Volume) -> bytes:
        """Return the v1 map of a volume."""
        return v1.encode_v1(
            volume.size, [self._entry(volume.name, *entry) for entry in enumerate(volume.objects)]
        )

    def _entry(self, volume: bytes, number: int, found: int) -> v1.EntryV1:
        if found == UNWRITTEN:
            return v1.EntryV1(0, v1.ZERO_DIGEST)
        if found == WRITTEN:
            digits = v03_data_name(volume, number).removeprefix(PREFIX)
            return v1.EntryV1(1, bytes.fromhex(digits.decode()))
        return v1.EntryV1(0, self.digest(found))

    def sha256(self, volume: Volume) -> str:
        """Return the digest of a volume's whole content as v0.3 serves it, in hex."""
        digest = hashlib.sha256()
        for number, found in enumerate(volume.objects):
            length = volume.length(number)
            content = b""
            if found != UNWRITTEN:
                written = found == WRITTEN
                content = self.written(volume.name, number) if written else self.block(found)
            digest.update(content[:length])
            for at in range(len(content), length, len(ZEROS)):
                digest.update(ZEROS[: length - at])
        return digest.hexdigest()

    def _rng(self, *words: object) -> random.Random:
        return random.Random(f"{self.seed} {words}")  # noqa: S311 (not for secrets)
