"""Removes, for good, what a run of prelink kept aside."""

from __future__ import annotations

from contextlib import ExitStack, closing

from ..errors import FatalError
from ..jobs.options import RunOptions
from ..journal.runs import open_run
from ..journal.store import Journal, RunHeader
from ..prelink.judges import KEPT_ASIDE, PRUNED
from ..prelink.keep import Keep, Pruned, prune
from ..prelink.kind import KIND
from ..prelink.phases import RESTS
from ..prelink.tables import standing
from ..relocate.roots import OpenRoot
from ..relocate.settings import open_blocks
from ..relocate.tables import add_counts
from .open import locked, open_earlier_share, places_of, roots_of, state_directory


def prune_kept(header: RunHeader, options: RunOptions) -> Pruned:
    """Remove the objects that a run kept aside; killed, it is just called again.

    Raises Busy, FatalError, OSError.
    """
    with ExitStack() as stack:
        share = stack.enter_context(closing(open_earlier_share(header, options)))
        state = state_directory(options, share)
        roots, places = roots_of(share, header.roots), places_of(share, header.roots)
        stack.enter_context(locked(state, roots, places)).sign(header.run)
        journal = stack.enter_context(closing(open_run(state, header.run)))
        phase = standing(journal).phase
        if phase not in RESTS:
            raise FatalError(
                f"{header.run} is in the middle of its phase `{phase}`: finish it first"
            )
        settings = KIND.settings(header.settings)
        owner = (settings.uid, settings.gid)
        blocks = OpenRoot(open_blocks(share), settings.blocks_umask, *owner)
        stack.enter_context(closing(blocks))
        pruned = prune(Keep(header.run), blocks)
        journal.commit([lambda j: _forget(j, pruned)])
    return pruned


def _forget(journal: Journal, pruned: Pruned) -> None:
    for kind in KEPT_ASIDE:
        journal.execute("DELETE FROM found WHERE class = ?", kind)
    add_counts(journal, [(PRUNED, pruned.files)])
