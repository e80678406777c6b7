"""The summaries of permissions: what a run did, what a dry run or `verify` found."""

from __future__ import annotations

from ..model import Tally
from ..modes import GUIDE_TEXT
from ..policy import NO_ID
from ..ui.summary import Facts, how_it_ended, skipped_and_failed
from ..ui.text import count, group_name, user_name
from .settings import DEFAULT_GROUP, PermsSettings


def new_owner(settings: PermsSettings) -> str:
    """Word whose all entries become: a group's, or an owner's and a group's."""
    group = group_name(settings.gid)
    return f"group {group}" if settings.uid == NO_ID else f"{user_name(settings.uid)}:{group}"


def run_summary(facts: Facts, new_owner: str) -> list[str]:
    """Word what `perms` did."""
    tally = facts.tally
    undo = facts.command("undo", facts.run, options=facts.runs)
    resume = facts.command("resume", facts.run, options=facts.runs)
    following = {
        "done": "check it with: " + facts.command("verify", facts.path, options=facts.same_share),
        "failures": f"see to the failures above, then try them again: {resume} --failed",
    }.get(facts.status, f"go on with: {resume}")
    done = f"  {tally.changed:,} changed to {new_owner}, {tally.compliant:,} complied already"
    return [
        f"{facts.job} {facts.path}: {how_it_ended(facts)} (run {facts.run})",
        *_counts(tally),
        f"{done}, {skipped_and_failed(tally)}",
        following,
        f"take it back with: {undo}",
    ]


def dry_run_summary(facts: Facts, new_owner: str) -> list[str]:
    """Word what a dry run found."""
    found = facts.tally.changed
    verdict = f"{count(found, 'entry')} would be changed to {new_owner}"
    do = f"do it with: {facts.command('perms', facts.path, options=facts.same_share)}"
    return [*_found(facts, verdict), *([do] if found else [])]


def verify_summary(facts: Facts, new_owner: str) -> list[str]:
    """Word what `verify` found."""
    found = facts.tally.changed
    verdict = f"{count(found, 'entry')} not as they must be for {new_owner}"
    mend = f"mend it with: {facts.command('perms', facts.path, options=facts.same_share)}"
    return [*_found(facts, verdict), *([mend] if found else [])]


def _found(facts: Facts, verdict: str) -> list[str]:
    tally = facts.tally
    return [
        f"{facts.job} {facts.path}: {how_it_ended(facts)}; nothing was changed",
        *_counts(tally),
        f"  {verdict}, {tally.compliant:,} comply, {skipped_and_failed(tally)}",
    ]


def options_same_share(settings: PermsSettings) -> list[str]:
    """Return the options by which another command gets these settings (of a share, see its URL)."""
    group = group_name(settings.gid)
    words = ["--group", group] if group != DEFAULT_GROUP else []
    if settings.uid != NO_ID:
        words += ["--owner", user_name(settings.uid)]
    if settings.mode != GUIDE_TEXT:
        words += ["--mode", settings.mode]
    for name in settings.excludes:
        words += ["--exclude", name]
    if not settings.snapshots:
        words.append("--no-default-excludes")
    if settings.skip_links:
        words += ["--hard-links", "skip"]
    if settings.cross:
        words.append("--cross-filesystems")
    return words


def _counts(tally: Tally) -> list[str]:
    kinds = f"{count(tally.directories, 'directory')}, {count(tally.files, 'file')}"
    lines = [f"  {count(tally.entries, 'entry')}: {kinds}, {tally.others:,} others (left alone)"]
    if tally.hard_linked:
        lines.append(
            f"  {count(tally.hard_linked, 'file')} with more than one name: other names may lie "
            "outside the share (--hard-links skip leaves such files alone)"
        )
    return lines
