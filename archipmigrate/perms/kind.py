"""Permissions as a kind of job: `perms`, and `verify`, which changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

from ..backend.base import Backend, ScanOptions
from ..backend.select import demand_backend
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Opening, Purpose, Words, Work
from ..jobs.lanes import choose_backend
from ..jobs.registry import restores_set_id
from ..jobs.remade import remade_since
from ..journal.store import Journal, RunHeader
from ..model import Remade
from ..modes import read_modes
from ..policy import GroupPolicy
from ..share import Share
from ..ui.report import Report
from ..ui.text import count
from .changed import may_have_changed
from .job import PermsJob, listed_changes
from .outside import StateDirectory
from .pairs import Pairs
from .settings import SNAPSHOTS, PermsSettings
from .words import dry_run_summary, new_owner, options_same_share, run_summary, verify_summary

PAIRED = (
    "{blocks} with a second name by relocate --prelink, both in the share: for --hard-links these "
    "are no hard links"
)


@dataclass
class PermsWork(Work):
    """The job, the backend that it works through, and the share's root (-1: not open here)."""

    opened: Backend
    journal: Journal
    root: int
    remade: Callable[[], Mapping[int, Sequence[Remade]]]

    @property
    def nfs_version(self) -> int:
        """The version of NFS that the backend came to use; 0 if it uses none."""
        return self.opened.nfs_version

    @property
    def remark(self) -> str:
        """What the backend has to say of that."""
        return self.opened.remark

    @contextmanager
    def undo(self, header: RunHeader) -> Iterator[Work]:
        """Put the entries back through the same backend."""
        from .undo import UndoJob  # noqa: PLC0415 -- and what it alone needs

        restores = restores_set_id(header)
        job = UndoJob(self.opened, self.journal, self.root, restores, self.remade)
        yield replace(self, job=job)


class PermsKind(JobKind[PermsSettings]):
    """See the module."""

    name = "perms"
    noun = "entry"
    past_mount = True
    walks = True
    decode = staticmethod(listed_changes)
    changes_entries = True

    def settings(self, stored: Mapping[str, object]) -> PermsSettings:
        """Read the settings that a run's header stores."""
        return PermsSettings.from_dict(stored)

    def domain(self, settings: PermsSettings) -> str:
        """Return the domain of NFSv4 owners."""
        return settings.domain

    def check_backend(self, name: str, share: Share) -> None:
        """See that the backend is there, and one for this share."""
        demand_backend(name, share)

    def may_have_changed(self, journal: Journal) -> bool:
        """Say whether an entry was changed, or may be half done."""
        return may_have_changed(journal)

    @contextmanager
    def open(self, opening: Opening[PermsSettings]) -> Iterator[Work]:
        """Open the backend, and make the job."""
        backend, lanes = choose_backend(opening.share, opening.options)
        try:
            state = StateDirectory.at(opening.state) if self.changes_entries else None
            pairs = Pairs.of(opening.state, opening.share)
            if pairs is not None:
                opening.reporter.remark(PAIRED.format(blocks=count(pairs.blocks, "block")))
            job = make_job(opening, backend, state, pairs)
            root = opening.share.fd
            target, places = opening.header, opening.share.places
            remade = cache(partial(remade_since, opening.state, target, places))
            yield PermsWork(job, lanes, backend.name, backend, opening.journal, root, remade)
        finally:
            backend.close()

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print what was done, or what a dry run found."""
        settings = self.settings(ended.header.settings)
        facts = ended.facts(
            runs=words.runs, same_share=[*options_same_share(settings), *words.runs]
        )
        thing = ended.summary_object(dry_run=ended.dry_run)
        word = dry_run_summary if ended.dry_run else run_summary
        report.summary(word(facts, new_owner(settings)), thing, ended.reason, ended.notices)


class VerifyKind(PermsKind):
    """The dry run with another verdict. Never in a journal."""

    name = "verify"
    changes_entries = False

    def status(self, ended: Ended) -> str:
        """Return `drift` if some entries do not comply."""
        return "drift" if ended.status == "done" and ended.tally.changed else ended.status

    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print what was found."""
        settings = self.settings(ended.header.settings)
        facts = ended.facts(same_share=[*options_same_share(settings), *words.runs])
        found = ended.tally.changed
        thing = ended.summary_object(replace(ended.tally, changed=0), drift=found)
        lines = verify_summary(facts, new_owner(settings))
        report.summary(lines, thing, ended.reason, ended.notices)


def make_job(
    opening: Opening[PermsSettings],
    backend: Backend,
    state: StateDirectory | None,
    pairs: Pairs | None = None,
) -> PermsJob:
    """Return the job that an opening asks for; it must not change *state*."""
    settings, is_nfs = opening.settings, opening.share.is_nfs
    dry_run = opening.purpose is Purpose.DRY_RUN
    options = ScanOptions(
        frozenset(os.fsencode(exclude) for exclude in settings.excludes),
        frozenset(os.fsencode(name) for name in SNAPSHOTS) if settings.snapshots else frozenset(),
        settings.skip_links,
        settings.cross,
        xattrs=not is_nfs,
        retain=not dry_run,
        remote=is_nfs,
        never=(state.device, state.inode) if state else (0, 0),
    )
    policy = GroupPolicy(settings.gid, read_modes(settings.mode), settings.uid)
    return PermsJob(backend, policy, options, dry_run, state, pairs, opening.share.parts_links)


KIND = PermsKind()
VERIFY = VerifyKind()
