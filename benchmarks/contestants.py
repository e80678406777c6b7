"""Who takes part in the contest: the whole job, in the best form of each tool that was found.

A contestant's words are templates of `share`, `gid`, `cores`, `state`, `python`, `here` (this
directory), `limit` (the compiled limit.c) and `program` (the one that it needs).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import FIND_PLUS, GUIDE, TRIPLE

HERE = Path(__file__).parent
OURS = ("{python}", "-m", "archipmigrate", "perms", "-q", "--no-progress", "--fresh")
FIND_ONCE = (
    r"find {share} \( -type d -exec chgrp {gid} {{}} + -exec chmod g+rwxs {{}} + \) -o "
    r"\( -type f -exec chgrp {gid} {{}} + -exec chmod g+rw {{}} + \)"
)
XARGS = (
    "find {share} -type d -print0 | xargs -0 -P {cores} -n 1000 "
    """sh -c 'chgrp {gid} "$@" && chmod g+rwxs "$@"' sh; """
    "find {share} -type f -print0 | xargs -0 -P {cores} -n 1000 "
    """sh -c 'chgrp {gid} "$@" && chmod g+rw "$@"' sh"""
)
# fd does not return the directory itself.
FD = (
    "chgrp {gid} {share}; chmod g+rwxs {share}; "
    r"{program} -u -t d . {share} -X chgrp {gid} \; -X chmod g+rwxs; "
    r"{program} -u -t f . {share} -X chgrp {gid} \; -X chmod g+rw"
)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way to do the job."""

    label: str
    words: tuple[str, ...]
    microseconds: float  # an entry, about: to say beforehand how long it takes
    needs: tuple[str, ...] = ()  # programs, any of which will do
    package: str = ""  # where they are from
    note: str = ""  # why it leaves something wrong, if that was found out

    def program(self) -> str | None:
        """Return the path of what it needs; None if that is not installed."""
        return next(filter(None, map(shutil.which, self.needs)), None)

    @property
    def absent(self) -> bool:
        """Whether what it needs is not installed."""
        return bool(self.needs) and self.program() is None

    def command(self, **places: str) -> Sequence[str]:
        """Return the command for the places: `share`, `gid`, `state`, `limit`."""
        fill = {"python": sys.executable, "here": HERE, "cores": cores()}
        fill |= {"program": self.program() or ""}
        return [word.format(**fill, **places) for word in self.words]


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _shell(text: str) -> tuple[str, ...]:
    return ("sh", "-c", text)


def _ours(backend: str) -> tuple[str, ...]:
    return (*OURS, "--backend", backend, "--group", "{gid}", "--state", "{state}", "{share}")


CONTESTANTS: Mapping[str, Contestant] = {
    "native": Contestant("archipmigrate, native", _ours("native"), 16),
    "python": Contestant("archipmigrate, python", _ours("python"), 40),
    "limit": Contestant(
        "`limit.c`: as safe, no journal", ("{limit}", "{share}", "{gid}", "{cores}"), 10, ("gcc",)
    ),
    "limit-looks": Contestant(
        "`limit.c`, with all looks of `perms`",
        ("{limit}", "{share}", "{gid}", "{cores}", "looks"),
        13,
        ("gcc",),
    ),
    "scandir": Contestant(
        "`os.scandir` loop", ("{python}", "{here}/scandir_loop.py", "{share}", "{gid}"), 26
    ),
    "trio": Contestant(
        "one `trio.to_thread` a file", ("{python}", "{here}/trio_loop.py", "{share}", "{gid}"), 380
    ),
    "triple": Contestant("`chgrp -R; chmod -R; find -type d`", _shell(TRIPLE), 56),
    "find-once": Contestant("`find`, one pass, four `-exec +`", _shell(FIND_ONCE), 56),
    "find-plus": Contestant("four `find -exec +`", _shell(FIND_PLUS), 96),
    "xargs": Contestant("two `find \\| xargs -P`", _shell(XARGS), 41),
    "fd": Contestant("`fd -X`", _shell(FD), 45, ("fdfind", "fd"), "apt-get install fd-find"),
    "bfs": Contestant(
        "`bfs`, one pass, four `-exec +`",
        _shell(FIND_ONCE.replace("find ", "{program} ", 1)),
        45,
        ("bfs",),
        "apt-get install bfs",
    ),
    "rchm": Contestant(
        "`rchm`",
        ("{program}", "-q", "--group", "f:{gid} d:{gid}", "--mode", "f:g+rw d:g+rwxs", "{share}"),
        30,
        ("rchm",),
        "cargo install rcp-tools-rchm",
        "rchm 0.41 ends with exit status 1 and leaves most entries as they were, also with four "
        "files in flight.",
    ),
    "guide": Contestant("the guide's `find -exec \\;`", _shell(GUIDE), 3000),
}
