"""A kind of job: all that the program must know of one to run, resume, undo and describe it.

The session room and the commands work with any kind; `registry` says which there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ..engine.job import Job, Lanes, Observer
from ..journal.store import Journal, RunHeader
from ..model import Remade
from ..share import Share
from ..ui.progress import Subject
from ..ui.report import Decoder, Report
from .ended import Ended
from .logs import LogDirectory
from .options import RunOptions


class Settings(Protocol):
    """What must be the same for a run to be resumed."""

    def as_dict(self) -> dict[str, object]:
        """Return what the run's header keeps."""


S = TypeVar("S", bound=Settings)  # a kind's settings


class Reporter(Observer, Protocol):
    """Whoever is told how a session goes: the engine's observer, and what users should know."""

    def remark(self, text: str) -> None:
        """Take note of a line for the user. Called on the main thread."""


class Purpose(Enum):
    """What a job is opened for."""

    RUN = "run"  # to work, also on what an earlier session left
    DRY_RUN = "dry run"  # to see what would be done; nothing is changed
    SETTLE = "settle"  # only to settle what a killed session left, before another run's work


@dataclass(frozen=True, slots=True)
class Opening(Generic[S]):
    """What a job is opened with.

    `state` is the state directory, made and checked. In a dry run it may not be there, `header.run`
    is empty, and `journal` is a temporary one.
    """

    share: Share
    state: Path
    header: RunHeader
    journal: Journal
    settings: S
    options: RunOptions
    purpose: Purpose
    reporter: Reporter


@dataclass
class Work(ABC):
    """A job that was opened, and what it works through: a backend, or something like it.

    `backend` is what users call that. Whoever opened the work closes it.
    """

    job: Job[Any]
    lanes: Lanes
    backend: str

    @property
    def nfs_version(self) -> int:
        """The version of NFS that is used directly; 0 if none is."""
        return 0

    @property
    def remark(self) -> str:
        """What users should know of how the share was reached; "" if nothing."""
        return ""

    def settled(self) -> None:  # noqa: B027 -- most jobs have nothing to do here
        """Do what remains once all batches of the run are settled that can be."""

    @abstractmethod
    def undo(self, header: RunHeader) -> AbstractContextManager[Work]:
        """Open what puts back the run that this work was opened for, which is settled now.

        *header* is that of the undo. The work stays open meanwhile, and may be used.
        """


@dataclass(frozen=True, slots=True)
class Words:
    """What commands that a summary proposes need, and where logs go.

    `runs` are options of commands about runs, `same_share` those that select the same share and
    settings (None: by the settings themselves).
    """

    runs: Sequence[str] = ()
    same_share: Sequence[str] | None = None
    logs: LogDirectory | None = None


class JobKind(ABC, Generic[S]):
    """A kind of job.

    name            of the command, of its runs, in their headers
    noun            what it counts: an entry, a volume
    done            what it does to one, in the past: changed, upgraded
    past_mount      whether it may reach a share directly, past its mount, or by a URL
    walks           whether it finds every entry of the share: how many there are is kept, for the
                    progress of the next
    leaves_behind   what an unfinished run, or undo, may leave in the share that only its journal
                    knows of; such a run is not to be forgotten ("": nothing)
    settles_earlier whether a run settles what earlier runs on its share left before it begins
    has_phases      whether a run rests between phases, in which other jobs may have to wait
    moves_objects   whether it moves objects, or gives them names
    writes_maps     whether maps that it writes rest on where the objects are
    """

    name: ClassVar[str]
    noun: ClassVar[str]
    done: ClassVar[str] = "changed"
    past_mount: ClassVar[bool] = False
    walks: ClassVar[bool] = False
    leaves_behind: ClassVar[str] = ""
    settles_earlier: ClassVar[bool] = False
    has_phases: ClassVar[bool] = False
    moves_objects: ClassVar[bool] = False
    writes_maps: ClassVar[bool] = False
    decode: ClassVar[Decoder | None] = None  # for --list; None if the job lists in another way

    @property
    def subject(self) -> Subject:
        """What the progress line says of the job."""
        return Subject(self.name, self.noun, self.done)

    # -- settings

    @abstractmethod
    def settings(self, stored: Mapping[str, object]) -> S:
        """Read the settings that a run's header stores."""

    def domain(self, settings: S) -> str:
        """Return the domain of NFSv4 owners that the settings name; "" if none."""
        del settings
        return ""

    def more_roots(self, settings: S) -> Mapping[str, str]:
        """Return the roots beside the share that a run works on: identities, and paths.

        No two runs work on one root at a time.
        """
        del settings
        return {}

    def check_backend(self, name: str, share: Share) -> None:
        """See that a backend that is named can serve. Raises BackendMissing, UsageError."""

    def check_state(self, settings: S, share: Share, options: RunOptions) -> None:
        """See that the state directory is in nothing that the job changes beside the share.

        Raises StateError.
        """

    # -- phases

    def phase(self, journal: Journal) -> str:
        """Return the phase that a run is in; "" if it has none. Raises JournalError."""
        del journal
        return ""

    def pairs(self, journal: Journal) -> int:
        """Return how many blocks have two names by a run, both in the share.

        Raises JournalError.
        """
        del journal
        return 0

    def rests(self, journal: Journal) -> bool:
        """Whether a run that is done is between phases, and its journal is needed.

        Raises JournalError.
        """
        del journal
        return False

    def forbids(
        self, run: RunHeader, journal: Journal, other: JobKind[Any], options: RunOptions
    ) -> str:
        """Say why a run of *other* must not begin, or go on, in the phase of *run*; "" if it may.

        Asked only if `has_phases`. Raises JournalError.
        """
        del run, journal, other, options
        return ""

    # -- sessions

    def check_undo(self, target: RunHeader, share: Share, options: RunOptions) -> None:
        """See that a run may be undone now; *share* is locked. Raises FatalError."""

    @abstractmethod
    def open(self, opening: Opening[S]) -> AbstractContextManager[Work]:
        """Open a job of this kind. Raises Error."""

    def may_have_changed(self, journal: Journal) -> bool:
        """Say whether a run may have changed something that undo would put back.

        Here: whether it tried to. Raises JournalError.
        """
        return next(journal.batches(), None) is not None

    def remade(self, journal: Journal) -> Iterator[Remade]:
        """Yield the files that an undo of a run makes in place of those that the run removed.

        Raises JournalError.
        """
        del journal
        return iter(())

    def begun(self, settings: S, state: Path, run: str) -> None:
        """Save what a new run needs beside its journal. Raises JournalError."""

    def status(self, ended: Ended) -> str:
        """Return the status of a session, where the engine's is not all there is to it."""
        return ended.status

    # -- what users see

    @abstractmethod
    def tell(self, ended: Ended, report: Report, words: Words) -> None:
        """Print the summary of a session. Raises FatalError if logs cannot be written."""

    def left_by_undo(self, target: RunHeader, options: RunOptions) -> str:
        """Say what the undo of a run leaves in the share, and how to remove it; "" if nothing."""
        del target, options
        return ""

    def needed(self, journal: Journal) -> Sequence[str]:
        """Return the options without which a run that is resumed would stop again at once."""
        del journal
        return ()

    def results(self, journal: Journal) -> Mapping[str, Mapping[str, int]]:
        """Return more counts for `status`, each under its heading."""
        del journal
        return {}


Tell = Callable[[Ended], None]
