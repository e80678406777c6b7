"""Whether a run may be undone: no v2 map may rest on what it did."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterator

from ..errors import FatalError
from ..layout.names import PREFIX, is_v03_data, shown
from ..layout.placement import sha256_dir
from ..maps.format import v2
from ..maps.format.v2 import block_name
from ..tree.files import Tree, open_file, read_pieces

NAME_AT = 5  # in an entry: flags, length of the name


def check_maps(maps: int, before: Container[bytes] = ()) -> None:
    """Refuse while a v2 map names an object of v0.3. *maps* is the open directory of the maps.

    v0.3 cannot read such a map, and v0.4 would not find the object. Maps in *before* were v2 when
    the run began: its undo leads back to that. Raises FatalError, OSError.
    """
    for name in upgraded_maps(maps):
        if name in before:
            continue
        raise FatalError(
            f"the map of {shown(name)} is v2 and names objects that this would move: put the maps "
            "back first (archipmigrate undo of the run of mapfiles)"
        )


def upgraded_maps(maps: int) -> Iterator[bytes]:
    """Yield the v2 maps that name objects of v0.3. Raises OSError."""
    tree = Tree(maps)
    for path, _, names, directory in os.fwalk(b".", dir_fd=maps):
        place = tuple(path.split(b"/")[1:])
        for name in names:
            if not name.startswith(PREFIX) and place == sha256_dir(name):
                header = _header(directory, name)
                if header is not None and _names_objects(tree, name, header):
                    yield name


def _header(directory: int, name: bytes) -> v2.HeaderV2 | None:
    """Return the header of a live v2 map; None if this is none. Raises OSError."""
    try:
        fd = open_file(directory, name)
    except OSError:
        return None
    try:
        raw = os.pread(fd, v2.HEADER_SIZE, 0)
    finally:
        os.close(fd)
    if not raw.startswith(v2.HEADER_START) or len(raw) < v2.HEADER_SIZE:
        return None
    _, _, size, block_size, flags, epoch = v2.HEADER.unpack(raw)
    try:
        header = v2.HeaderV2(size, block_size, flags, epoch)
    except ValueError:
        return None
    return None if header.is_deleted else header


def _names_objects(tree: Tree, name: bytes, header: v2.HeaderV2) -> bool:
    for number in range(header.blocks):
        block = block_name(name, number)
        with contextlib.suppress(OSError), tree.directory(sha256_dir(block)) as directory:
            fd = open_file(directory, block)
            try:
                if any(_has_object(piece) for piece in read_pieces(fd)):
                    return True
            finally:
                os.close(fd)
    return False


def _has_object(piece: bytes) -> bool:
    for at in range(0, len(piece) - v2.ENTRY_SIZE + 1, v2.ENTRY_SIZE):
        name = piece[at + NAME_AT : at + v2.ENTRY_SIZE].rstrip(b"\0")
        if is_v03_data(name):
            return True
    return False
