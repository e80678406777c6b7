"""What a check is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field

from ..errors import FatalError, Interrupted, ShareError, UsageError
from ..jobs.ended import Ended
from ..jobs.kind import JobKind, Reporter, S, Tell
from ..jobs.options import RunOptions
from ..numerals import read_number
from ..session.work import dry_run
from ..share import Share, open_share
from ..ui.progress import Subject
from ..ui.report import Report, Verbosity
from .finding import Finding, Topic, blocker
from .site import Site

Watch = Callable[[Subject], AbstractContextManager[Reporter]]


def unwatched(subject: Subject) -> AbstractContextManager[Reporter]:
    """Show no progress."""
    return closing(Report(subject, Verbosity(quiet=True, progress=False)))


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and of which site.

    walk      whether to walk the share: without that, what only a walk finds is left out
    probe     whether to make, change and remove a directory, to see what root may do
    hosts     nodes whose numbers of user and group are asked for, by ssh
    options   of the walks: state directory, lanes, operations a second
    watch     shows the progress of a walk
    """

    site: Site
    walk: bool = True
    probe: bool = True
    hosts: Sequence[str] = ()
    options: RunOptions = field(default_factory=RunOptions)
    watch: Watch = unwatched

    def __post_init__(self) -> None:
        """Refuse hosts that ssh would take for options. Raises UsageError."""
        for host in self.hosts:
            if not host or host.startswith("-"):
                raise UsageError(f"--hosts: {host!r} is no host")

    def survey(
        self, kind: JobKind[S], settings: S, path: str, tell: Tell, topic: Topic
    ) -> Iterator[Finding]:
        """Make the dry run of a job below *path*; *tell* is called if it came to its end.

        Yields what kept it from that. Raises Interrupted.
        """
        ends: list[Ended] = []

        def told(ended: Ended) -> None:
            ends.append(ended)
            if ended.status not in ("stopped", "interrupted"):
                tell(ended)

        subject = Subject(f"check ({kind.name})", kind.noun, f"to be {kind.done}")
        try:
            with self.watch(subject) as reporter:
                dry_run(kind, settings, open_share(path), self.options, reporter, told)
        except FatalError as error:
            yield blocker(topic, str(error), "see to that, then check again")
            return
        ended = ends[0]
        if ended.signal:
            raise Interrupted(ended.signal, "the check was interrupted; nothing was changed")
        if ended.status == "stopped":
            yield blocker(topic, f"{path}: the walk stopped: {ended.reason}", "see to that first")
        elif ended.tally.failed:
            yield blocker(
                topic,
                f"{path}: {ended.tally.failed:,} could not be looked at by {kind.name}",
                "see to these first: the same command with -n lists them",
                failed=ended.tally.failed,
            )


@contextmanager
def opened(path: str) -> Iterator[Share | None]:
    """Open a directory as a share for as long as the context lasts; None if it is not there."""
    try:
        share = open_share(path)
    except ShareError:
        yield None
        return
    try:
        yield share
    finally:
        share.close()


def number_of(text: str, known: Callable[[str], int]) -> int | None:
    """Return the number of a user or group, which *text* names or is; None if there is none."""
    try:
        return known(text)
    except KeyError:
        return read_number(text)
