"""How a session works: values that may differ from one session of a run to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..journal.location import default_state
from ..ui.text import command_line

AUTO = 0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a session works.

    state     the state directory (None: the default one, see `journal.location.default_state`)
    backend   `auto`, or a backend by name, which must be able to serve
    jobs      lanes at work at once, or calls in flight over direct NFS (AUTO: found while running)
    max_ops   operations a second (0: no limit)
    domain    the domain of NFSv4 owners, if not that of the share's URL or of the earlier run
    path      where the share of an earlier run is now, if not where it was
    locks     where the lock directory of an earlier run over maps is now, if not where it was
    restore_set_id  whether an undo gives files their set-id bits back
    copy      whether relocate may copy what a rename does not reach, from this session on
    """

    state: Path | None = None
    backend: str = "auto"
    jobs: int = AUTO
    max_ops: int = 0
    domain: str = ""
    path: str | None = None
    locks: str | None = None
    restore_set_id: bool = False
    copy: bool = False

    @property
    def state_path(self) -> Path:
        """The state directory, which may not have been made yet."""
        return (self.state or default_state()).absolute()

    @property
    def state_words(self) -> list[str]:
        """`--state DIR` if one was given, for commands that are to find the same runs."""
        return ["--state", str(self.state_path)] if self.state else []

    def command(self, name: str, run: str) -> str:
        """Return a command about a run, for users to copy."""
        return command_line(["archipmigrate", name, run, *self.state_words])
