"""The last lines of a session: what all summaries have in common, and that of any undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..model import Tally
from .text import command_line, count, duration


@dataclass(frozen=True, slots=True)
class Facts:
    """What a summary words.

    `path` is the share's; `way` says how it was reached, where there are several ways. `runs` are
    the options of commands about the same runs, `same_share` of those about the same share.
    """

    job: str
    run: str
    path: str
    status: str
    reason: str
    tally: Tally
    seconds: float
    way: str = ""
    runs: Sequence[str] = ()
    same_share: Sequence[str] = ()

    def command(self, name: str, *words: str, options: Sequence[str]) -> str:
        """Return a command line to copy."""
        return command_line(["archipmigrate", name, *options, *words])


def undo_summary(facts: Facts, target: str, noun: str) -> list[str]:
    """Word what an undo of the run *target* put back; *noun* is what that counted."""
    tally = facts.tally
    back = f"{tally.changed:,} put back, {tally.compliant:,} already as before"
    left = f"{tally.skipped:,} left as they are, {tally.vanished:,} gone, {tally.failed:,} failed"
    following = []
    if facts.status in ("stopped", "interrupted"):
        resume = facts.command("resume", facts.run, options=facts.runs)
        following.append(f"go on with: {resume}")
    elif facts.status == "failures":
        command = facts.command("undo", target, options=facts.runs)
        following.append(f"see to the failures above, then try them again: {command}")
    return [
        f"undo of {target} on {facts.path}: {how_it_ended(facts)} (run {facts.run})",
        f"  {count(tally.entries, noun)} of that run: {back}, {left}",
        *following,
    ]


def how_it_ended(facts: Facts) -> str:
    """Return status, time, the way to the share, and why the session stopped if it did."""
    after = f"after {duration(facts.seconds)}" + (f", {facts.way}" if facts.way else "")
    if facts.reason:
        return f"{facts.status} {after}: {facts.reason}"
    return f"{facts.status.replace('failures', 'done, with failures,')} {after}"


def skipped_and_failed(tally: Tally) -> str:
    """Return the counts of what was neither changed nor compliant."""
    waiting = f", {tally.waiting:,} seen, not yet done" if tally.waiting else ""
    counts = f"{tally.skipped:,} skipped, {tally.vanished:,} vanished, {tally.failed:,} failed"
    return counts + waiting
