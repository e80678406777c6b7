"""`perms` against everything else that does the same job: turns on the same tree, each checked.

Before each turn the tree is put back. After it every entry is compared with what it should be. A
contestant that fails, or leaves an entry wrong, is marked, and has no time.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archipmigrate.testshare import Layout, make_share

from . import places
from .commands import GID
from .contestants import CONTESTANTS, HERE, Contestant, cores
from .measure import launch

CHANGING, COMPLIANT = "changing", "compliant"
WARM, COLD = "warm", "cold"
# What a contestant may take on a whole tree. A slower one gets a tree for SHORT, and its time an
# entry is what is compared.
PATIENCE, SHORT = 30.0, 3.0  # seconds
ENTRIES = {Layout.FILED: 2.4, Layout.FLAT: 1.0, Layout.DEEP: 7.0}  # an object, about
RESET = 20  # microseconds an entry: put back, and checked


@dataclass(frozen=True, slots=True)
class Part:
    """A share to contend on."""

    filesystem: str
    layout: Layout
    objects: int
    state: str = CHANGING
    cache: str = WARM
    patience: float = PATIENCE

    @property
    def name(self) -> str:
        """Its name, in file names and on the command line."""
        size = f"{self.objects // 1000}k" if self.objects % 1000 == 0 else str(self.objects)
        return f"{self.filesystem}-{self.layout}-{size}-{self.state}-{self.cache}"

    def objects_for(self, contestant: Contestant) -> int:
        """Return how many objects a contestant gets: all, unless it is too slow for them."""
        each = ENTRIES[self.layout] * contestant.microseconds / 1e6
        return self.objects if self.objects * each <= self.patience else round(SHORT / each)

    def seconds(self, turns: int, chosen: Iterable[str] = CONTESTANTS) -> float:
        """Say about how long it takes."""
        once = 0.0
        for name in chosen:
            one = CONTESTANTS[name]
            entries = self.objects_for(one) * ENTRIES[self.layout]
            once += entries * (one.microseconds + RESET)
        making = self.objects * ENTRIES[self.layout] * 40
        return (turns * once * (2 if self.cache == COLD else 1) + making) / 1e6 + 2


@dataclass(frozen=True, slots=True)
class Tree:
    """A share on which contestants take turns, and the journal's directory."""

    share: Path
    state: Path
    limit: str
    entries: int

    def put_back(self) -> None:
        """Take the group and its bits from every entry."""
        shutil.rmtree(self.state, ignore_errors=True)
        subprocess.run([self.limit, self.share, "0", str(cores()), "reset"], check=True)

    def give(self) -> None:
        """Make every entry compliant, as the contestants should."""
        shutil.rmtree(self.state, ignore_errors=True)
        subprocess.run([self.limit, self.share, GID, str(cores())], check=True)


def compete(
    part: Part,
    turns: int,
    at: Path,
    before: dict[str, Any] | None = None,
    chosen: Iterable[str] = CONTESTANTS,
    keep: Callable[[dict[str, Any]], object] = dict,
) -> dict[str, Any]:
    """Let contestants take turns on a new tree; return what is saved.

    *at* is a directory for images and journals. The turns of *before*, which an earlier call
    returned, are kept. *keep* is called with what there is after each contestant: a call that is
    interrupted loses one at most. Raises places.Unavailable if the part cannot be measured here.
    """
    found: dict[str, Any] = dict((before or {}).get("contestants", {}))
    chosen = list(chosen)
    present = [name for name in chosen if not CONTESTANTS[name].absent]
    asked = {*chosen, *(before or {}).get("absent", [])} - set(present)
    absent = [name for name in CONTESTANTS if name in asked and name not in found]
    trees: dict[int, Tree] = {}
    result: dict[str, Any] = {}
    with places.filesystem(part.filesystem, at) as top:
        limit = compile_limit(at)
        for objects in {part.objects, *(part.objects_for(CONTESTANTS[name]) for name in present)}:
            share = top / f"share-{objects}"
            size = make_share(str(share), objects=objects, volumes=100, layout=part.layout)
            trees[objects] = Tree(share, at / "state", limit, size.files + size.directories)
        for turn in range(turns):
            for name in present:
                tree = trees[part.objects_for(CONTESTANTS[name])]
                run = _turn(part, tree, CONTESTANTS[name])
                print(f"turn {turn + 1}/{turns} {name:10} {run['wall']:7.2f} s  {_verdict(run)}")
                taken = found.get(name)
                if taken is None or taken["entries"] != tree.entries:
                    taken = found[name] = {"entries": tree.entries, "runs": []}
                taken["runs"].append(run)
                keep(result := _result(part, trees[part.objects].entries, found, absent))
        for tree in trees.values():
            shutil.rmtree(tree.share)
            shutil.rmtree(tree.state, ignore_errors=True)
    return result


def _result(
    part: Part, entries: int, found: Mapping[str, Any], absent: Sequence[str]
) -> dict[str, Any]:
    """Return what is saved."""
    ordered = {name: found[name] for name in CONTESTANTS if name in found}
    return {**asdict(part), "entries": entries, "contestants": ordered, "absent": absent}


def _verdict(run: dict[str, Any]) -> str:
    if run["wrong"]:
        return f"WRONG: {run['wrong']:,} entries"
    return f"WRONG: exit status {run['status']}" if run["status"] else "right"


def compile_limit(at: Path) -> str:
    """Compile the yardstick, which also puts trees back."""
    program = at / "limit"
    source = HERE / "limit.c"
    subprocess.run(["gcc", "-O2", "-pthread", "-o", program, source], check=True)
    return str(program)


def _turn(part: Part, tree: Tree, contestant: Contestant) -> dict[str, Any]:
    if part.state == COMPLIANT:
        tree.give()
    else:
        tree.put_back()
    if part.cache == COLD:
        places.drop_caches()
    else:
        os.sync()
    done = launch(
        contestant.command(share=str(tree.share), gid=GID, state=str(tree.state), limit=tree.limit)
    )
    return {
        "wall": round(done.wall, 4),
        "cpu": round(done.cpu, 4),
        "kib": done.kib,
        "status": done.status,
        "wrong": wrong_entries(tree.share),
        "said": done.err[-200:] if done.status else "",
    }


def wrong_entries(share: Path) -> int:
    """Count the entries that are not exactly as the guide leaves them after `put_back`."""
    gid, wrong = int(GID), 0
    status = os.stat(share)
    wrong += (status.st_mode & 0o7777, status.st_gid) != (0o2770, gid)
    todo = [os.fsencode(share)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                directory = stat.S_ISDIR(status.st_mode)
                wanted = (0o2770 if directory else 0o660, gid)
                wrong += (status.st_mode & 0o7777, status.st_gid) != wanted
                if directory:
                    todo.append(entry.path)
    return wrong
