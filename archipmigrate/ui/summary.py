"""The last lines of a session: what was done, and the commands that come next, to be copied."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Tally
from .text import count, duration


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary words.

    `path` is the share's, `target` the run that an undo put back, `group` a name or number; `way`
    says how the share was reached, where there are several; `look` and `runs` are the options that
    commands about the share, and about runs, need again.
    """

    job: str
    run: str
    path: str
    status: str
    reason: str
    tally: Tally
    seconds: float
    group: str = ""
    target: str = ""
    way: str = ""
    look: Sequence[str] = ()
    runs: Sequence[str] = ()

    def command(self, name: str, *words: str, options: Sequence[str]) -> str:
        """Return a command line to copy."""
        return shlex.join(["archipmigrate", name, *options, *words])


def perms_summary(facts: Facts) -> list[str]:
    """Word what `perms` did."""
    tally = facts.tally
    undo = facts.command("undo", facts.run, options=facts.runs)
    resume = facts.command("resume", facts.run, options=facts.runs)
    following = {
        "done": "check it with: " + facts.command("verify", facts.path, options=facts.look),
        "failures": f"see to the failures above, then try them again: {resume} --failed",
    }.get(facts.status, f"go on with: {resume}")
    done = (
        f"  {tally.changed:,} changed to group {facts.group}, {tally.compliant:,} complied already"
    )
    return [
        f"perms {facts.path}: {_ended(facts)} (run {facts.run})",
        *_counts(tally),
        f"{done}, {_rest(tally)}",
        following,
        f"take it back with: {undo}",
    ]


def look_summary(facts: Facts, found: int) -> list[str]:
    """Word what a dry run, or `verify`, found: so many entries that do not comply."""
    tally = facts.tally
    perms = facts.command("perms", facts.path, options=facts.look)
    if facts.job == "verify":
        verdict = f"{count(found, 'entry')} not as they must be for group {facts.group}"
        following = f"mend it with: {perms}"
    else:
        verdict = f"{count(found, 'entry')} would be changed to group {facts.group}"
        following = f"do it with: {perms}"
    return [
        f"{facts.job} {facts.path}: {_ended(facts)}; nothing was changed",
        *_counts(tally),
        f"  {verdict}, {tally.compliant:,} comply, {_rest(tally)}",
        *([following] if found else []),
    ]


def undo_summary(facts: Facts, noun: str) -> list[str]:
    """Word what `undo` put back: entries or volumes."""
    tally = facts.tally
    back = f"{tally.changed:,} put back, {tally.compliant:,} already as before"
    left = f"{tally.skipped:,} left as they are, {tally.vanished:,} gone, {tally.failed:,} failed"
    following = []
    if facts.status in ("stopped", "interrupted"):
        resume = facts.command("resume", facts.run, options=facts.runs)
        following.append(f"go on with: {resume}")
    elif facts.status == "failures":
        again = facts.command("undo", facts.target, options=facts.runs)
        following.append(f"see to the failures above, then try them again: {again}")
    return [
        f"undo of {facts.target} on {facts.path}: {_ended(facts)} (run {facts.run})",
        f"  {count(tally.entries, noun)} of that run: {back}, {left}",
        *following,
    ]


def _ended(facts: Facts) -> str:
    after = f"after {duration(facts.seconds)}" + (f", {facts.way}" if facts.way else "")
    if facts.reason:
        return f"{facts.status} {after}: {facts.reason}"
    return f"{facts.status.replace('failures', 'done, with failures,')} {after}"


def _rest(tally: Tally) -> str:
    return f"{tally.skipped:,} skipped, {tally.vanished:,} vanished, {tally.failed:,} failed"


def _counts(tally: Tally) -> list[str]:
    kinds = f"{count(tally.directories, 'directory')}, {count(tally.files, 'file')}"
    lines = [f"  {count(tally.entries, 'entry')}: {kinds}, {tally.others:,} others (left alone)"]
    if tally.hard_linked:
        lines.append(
            f"  {count(tally.hard_linked, 'file')} with more than one name: other names may lie "
            "outside the share (--hard-links skip leaves such files alone)"
        )
    return lines
