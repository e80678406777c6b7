"""A share as v0.3 leaves it after years: where v0.3 and Pithos put things, and what they forget.

    blocks/  archip_<64 hex digits>, written objects; empty files of 64 hex digits, which v0.3 makes
             of what it only reads
    maps/    archip_vol000000 and so on, each with a lock that was never released; locks of volumes
             that were deleted; empty maps of volumes that never were; `archip_shrt`, a name so
             short that it lies in a directory of arbitrary bytes

Pithos' own trees, if asked for, are apart: `maps/` (v0 maps), `data/` (their blocks), `sizes.csv`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from ..layout.names import lock_name, map_name, v03_data_name
from ..layout.placement import pithos_dir, v03_dir
from ..maps.format import v1
from ..tree.files import DirPath
from ..ui.text import as_json
from .contents import CLONED_BLOCKS, WRITTEN, Contents, Volume
from .make import ShareSize
from .tree import DIRECTORY_MODE, FILE_MODE, BlockerTree, make_directory, open_empty

LOCK_MODE = 0o700
PITHOS_DIRECTORY_MODE, PITHOS_FILE_MODE = 0o750, 0o640
SHORT = Volume(b"shrt", v1.OBJECT_SIZE, [WRITTEN])
SHORT_DIR = (b"sh", b"rt", b"\xf3\x7f")  # its last bytes were in memory after the name
FORGOTTEN = 10  # one deleted volume, and one that never was, for this many
TENTH = 10  # images and blocks of Pithos, beside volumes and objects


def make_v03_share(
    directory: str,
    *,
    objects: int,
    volumes: int,
    seed: int = 0,
    object_bytes: int = 64,
    pithos: str | None = None,
    sums: str | None = None,
) -> ShareSize:
    """Make a share of v0.3 in *directory*, which must be empty or missing; see the module.

    Each written object has 0 to *object_bytes* bytes. *pithos* is another such directory, for
    Pithos' trees: a tenth as many images and blocks as *volumes* and *objects*, but three blocks of
    each image at least. *sums* is a new file for the size and sha256 of each volume's whole content
    (JSON, by name; without `shrt`, which v0.4 cannot open). That hashes 4 MiB for each object.

    Raises ValueError if a number is out of range, OSError as `make_share` does, and FileExistsError
    if there is a *sums* already; then nothing was made.
    """
    if min(objects, volumes) < 0:
        raise ValueError("there is no negative number of objects or volumes")
    if objects and not volumes:
        raise ValueError("objects of v0.3 belong to volumes: one at least")
    if not 0 <= object_bytes <= v1.OBJECT_SIZE:
        raise ValueError(f"an object has 0 to {v1.OBJECT_SIZE} bytes")
    if sums is not None and os.path.lexists(sums):
        raise FileExistsError(errno.EEXIST, f"{sums} is there already")
    images = max(1, volumes // TENTH) if pithos is not None else 0
    blocks = max(images * CLONED_BLOCKS, objects // TENTH) if pithos is not None else 0
    contents = Contents(objects, volumes, images, blocks, object_bytes, seed)
    with ExitStack() as stack:
        share = _Share.open(stack, directory, "blocks", DIRECTORY_MODE)
        made = [share]
        if pithos is not None:
            made.append(_Share.open(stack, pithos, "data", PITHOS_DIRECTORY_MODE))
            _add_images(made[1], contents)
        for number in range(volumes):
            _add_volume(share, contents, contents.volume(number))
        _add_oddities(share, contents)
        if sums is not None:
            _write_sums(sums, contents)
        return ShareSize(
            files=sum(one.files for one in made),
            directories=sum(one.directories for one in made),
            volumes=volumes + 1,
        )


@dataclass(frozen=True, slots=True)
class _Share:
    """Two trees, of objects and of maps, in a directory that may have files, too."""

    top: BlockerTree
    objects: BlockerTree
    maps: BlockerTree

    @classmethod
    def open(cls, stack: ExitStack, directory: str, objects: str, mode: int) -> _Share:
        """Make the trees; closed by *stack*. Raises OSError as `open_empty` does."""
        top = open_empty(directory)
        stack.callback(os.close, top)
        trees = []
        for name in (objects, "maps"):
            tree = make_directory(top, name, mode)
            stack.callback(os.close, tree)
            trees.append(BlockerTree(tree, mode=mode))
        return cls(BlockerTree(top), *trees)

    @property
    def files(self) -> int:
        return self.top.files + self.objects.files + self.maps.files

    @property
    def directories(self) -> int:
        return 3 + self.objects.directories + self.maps.directories


def _add_volume(
    share: _Share, contents: Contents, volume: Volume, path: DirPath | None = None
) -> None:
    """Add a volume: its objects, its map (in the directory *path*, if given), its lock."""
    for number, found in enumerate(volume.objects):
        if found == WRITTEN:
            content = contents.written(volume.name, number)[: volume.length(number)]
            _put(share.objects, v03_data_name(volume.name, number), content)
    name = map_name(volume.name, prefixed=True)
    _put(share.maps, name, contents.map_of(volume), path=path)
    _add_lock(share, name)


def _add_lock(share: _Share, name: bytes) -> None:
    """Add the lock of a map, which v0.3 never releases: an empty file beside it."""
    _put(share.maps, lock_name(name), mode=LOCK_MODE)


def _add_oddities(share: _Share, contents: Contents) -> None:
    """Add what v0.3 forgets."""
    _add_volume(share, contents, SHORT, SHORT_DIR)
    for number in range(max(1, contents.volumes // FORGOTTEN)):
        _add_lock(share, b"archip_deleted%06d" % number)
        _put(share.maps, b"archip_never-made%06d" % number)  # `vlmc info` of such a name
    _put(share.objects, v1.ZERO_DIGEST.hex().encode())
    for number in range(contents.images):
        _put(share.objects, contents.digest(contents.image(number)[0]).hex().encode())


def _add_images(pithos: _Share, contents: Contents) -> None:
    """Add Pithos' images: v0 maps, the blocks that they name, and the sizes of both."""
    sizes = [b"mapfile,size\n"]
    for number in range(contents.images):
        digests = []
        for block in contents.image(number):
            digests.append(contents.digest(block))
            name = digests[-1].hex().encode()
            pithos.objects.add(name, contents.block(block), pithos_dir(name), PITHOS_FILE_MODE)
        name = hashlib.sha256(b"".join(digests)).hexdigest().encode()
        pithos.maps.add(name, b"".join(digests), pithos_dir(name), PITHOS_FILE_MODE)
        sizes.append(b"%s,%d\n" % (name, len(digests) * v1.OBJECT_SIZE))
    pithos.top.add(b"sizes.csv", b"".join(sizes), (), PITHOS_FILE_MODE)


def _put(
    tree: BlockerTree,
    name: bytes,
    content: bytes = b"",
    mode: int = FILE_MODE,
    path: DirPath | None = None,
) -> None:
    """Add a file where v0.3 puts it, or in the directory *path*."""
    tree.add(name, content, path or v03_dir(name), mode)


def _write_sums(path: str, contents: Contents) -> None:
    """Write the size and sha256 of each volume, by as many threads as there are cores."""
    cores = len(os.sched_getaffinity(0))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        os.fdopen(os.open(path, flags, FILE_MODE), "w") as file,
        ThreadPoolExecutor(cores) as threads,
    ):
        before = "{\n"
        for some in _batches(contents.volumes, cores):
            every = [contents.volume(number) for number in some]
            for volume, digest in zip(every, threads.map(contents.sha256, every), strict=True):
                value = as_json({"size": volume.size, "sha256": digest})
                file.write(f'{before} "{volume.name.decode()}": {value}')
                before = ",\n"
        file.write("\n}\n" if contents.volumes else "{}\n")


def _batches(total: int, size: int) -> Iterator[range]:
    return (range(at, min(at + size, total)) for at in range(0, total, size))
