"""Opens the directories of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from ..packed.moves import Root
from ..share import Share
from .roots import OpenRoot
from .settings import RelocateSettings, open_blocks, open_maps, open_tree


@contextmanager
def open_roots(share: Share, settings: RelocateSettings) -> Iterator[dict[Root, OpenRoot]]:
    """Open blocks, maps and Pithos' own trees, with umask 0, for as long as the context lasts.

    Raises ShareError.
    """
    with ExitStack() as stack:
        owner = (settings.uid, settings.gid)
        roots = {Root.BLOCKS: OpenRoot(open_blocks(share), settings.blocks_umask, *owner)}
        stack.enter_context(closing(roots[Root.BLOCKS]))
        roots[Root.MAPS] = OpenRoot(open_maps(share, settings), settings.maps_umask, *owner)
        stack.enter_context(closing(roots[Root.MAPS]))
        for root, tree in settings.trees.items():
            roots[root] = OpenRoot(open_tree(tree), 0, None, None)
            stack.enter_context(closing(roots[root]))
        stack.callback(os.umask, os.umask(0))
        yield roots
