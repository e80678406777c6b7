"""`archipmigrate perms`: give a share to a group."""

from __future__ import annotations

import argparse
import grp
import os
from dataclasses import dataclass, replace

from ..backend.base import Backend, ScanOptions
from ..backend.select import demand_backend
from ..errors import UsageError
from ..journal.store import Journal, RunHeader
from ..perms.job import PermsJob, listed_changes
from ..policy import NO_GID, GroupPolicy
from ..share import Share, open_share
from ..share.url import domain_of
from ..ui.report import Report
from ..ui.summary import look_summary, perms_summary
from ..ui.text import group_name
from . import options
from .reach import reach
from .session import (
    Session,
    check_room,
    choose_backend,
    exit_status,
    facts_of,
    find_or_make,
    locked,
    state_directory,
    state_option,
    summary_object,
)

DEFAULT_EXCLUDES = (".snapshot", ".zfs")
DEFAULT_GROUP = "archipelago"
DESCRIPTION = """\
Give every directory and regular file below PATH to a group: directories get the
group and g+rwxs, files the group and g+rw, as the upgrade guide's find commands
would leave them. Symbolic links and special files are left alone.

What complies already is not touched. Every change is written to a journal first,
so a run that was cut off goes on where it was when the same command is given
again, and `archipmigrate undo` puts everything back."""
EXAMPLES = """\
  archipmigrate perms -n --list /srv/archip      what would change
  archipmigrate perms /srv/archip                change it
  archipmigrate perms --group synnefo /srv/pithos/data
  archipmigrate perms --hard-links skip /srv/archip

exit status: 0 done; 1 stopped (resumable); 2 usage; 3 done, with failures;
11 another run holds the share; 130, 143 interrupted after a checkpoint"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "perms", "give a share to a group", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "path", metavar="PATH", help="the share: /srv/archip or nfs://server/srv/archip"
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; count what would change"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_policy(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    options.add_output(parser, lists=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be the same for a run to be resumed."""

    gid: int
    excludes: tuple[str, ...]
    skip_links: bool
    cross: bool
    domain: str = ""  # of owners' names: with another, numbers mean something else

    def as_dict(self) -> dict[str, object]:
        """Return what the journal's header keeps."""
        return {
            "gid": self.gid,
            "excludes": list(self.excludes),
            "skip_links": self.skip_links,
            "cross": self.cross,
            **({"domain": self.domain} if self.domain else {}),
        }

    @classmethod
    def from_dict(cls, kept: dict[str, object]) -> Settings:
        """Read what `as_dict` gave."""
        excludes = tuple(str(name) for name in kept["excludes"])  # type: ignore[attr-defined]
        return cls(
            int(str(kept["gid"])),
            excludes,
            bool(kept["skip_links"]),
            bool(kept["cross"]),
            str(kept.get("domain", "")),
        )

    def job(self, backend: Backend, share: Share, *, dry_run: bool) -> PermsJob:
        """Return the job with these settings."""
        return PermsJob(
            backend,
            GroupPolicy(self.gid),
            ScanOptions(
                frozenset(os.fsencode(exclude) for exclude in self.excludes),
                self.skip_links,
                self.cross,
                xattrs=not share.is_nfs,
                hold=not dry_run,
                remote=share.is_nfs,
            ),
            dry_run,
        )


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings that the options ask for. Raises UsageError."""
    defaults = () if args.no_default_excludes else DEFAULT_EXCLUDES
    for name in args.exclude:
        if not name or "/" in name:
            raise UsageError(f"--exclude {name!r}: give the name of a directory, not a path")
    return Settings(
        resolve_group(args.group),
        tuple(sorted({*defaults, *args.exclude})),
        args.hard_links == "skip",
        args.cross_filesystems,
        domain_of(args.path, args.nfs4_domain),
    )


def resolve_group(text: str) -> int:
    """Return the gid of a group's name or number. Raises UsageError."""
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        pass
    if not text.isdecimal():
        raise UsageError(
            f"there is no group {text!r} on this host: make it (groupadd --system {text}; with "
            "NFSv3 its gid must be the same on every node), or choose another with --group NAME|GID"
        )
    gid = int(text)
    if gid >= NO_GID:
        raise UsageError(f"--group {text}: gids end at {NO_GID - 1}, and {NO_GID} means no group")
    return gid


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    settings = settings_of(args)
    share = open_share(args.path, remote=True, domain=args.nfs4_domain)
    demand_backend(args.backend, share)
    if args.dry_run:
        return look(args, share, settings, "perms")
    report = Report("perms", options.verbosity(args), listed_changes)
    state = state_directory(args, share)
    with locked(state, share) as lock:
        share = replace(share, lock=lock.fd)
        check_room(state, share, report)
        share = reach(args, share, report, settings.domain)
        journal = find_or_make(args, share, "perms", settings.as_dict(), report)
        header = journal.read_header()
        lock.sign(header.run)
        return work(args, share, settings, journal, header, report)


def work(
    args: argparse.Namespace,
    share: Share,
    settings: Settings,
    journal: Journal,
    header: RunHeader,
    report: Report,
) -> int:
    """Run one session over *journal* and report it. Raises Error."""
    try:
        backend, lanes = choose_backend(args, share)
        header.backend = backend.name
        session = Session(
            share, backend, journal, header, lanes, report, getattr(args, "failed", False)
        )
        result, tally, seconds = session.run(settings.job(backend, share, dry_run=False))
    finally:
        journal.close()
        report.close()
    thing = summary_object(session, result.status, tally, seconds, dry_run=False)
    facts = facts_of(
        session,
        result,
        tally,
        seconds,
        group=group_name(settings.gid),
        look=_again(args, settings),
        runs=state_option(args),
    )
    report.summary(perms_summary(facts), thing, facts.reason)
    return exit_status(result, result.status)


def look(args: argparse.Namespace, share: Share, settings: Settings, name: str) -> int:
    """Only look: the dry run, and `verify`. Raises Error."""
    report = Report(name, options.verbosity(args), listed_changes)
    share = reach(args, share, report, settings.domain)
    backend, lanes = choose_backend(args, share)
    journal = Journal(None, new=True)
    shown = os.fsdecode(share.path)
    header = RunHeader("", name, share.identity, shown, "", settings.as_dict(), backend.name)
    session = Session(share, backend, journal, header, lanes, report)
    try:
        result, tally, seconds = session.run(settings.job(backend, share, dry_run=True))
    finally:
        journal.close()
        report.close()
    status, found = result.status, tally.changed
    if name == "verify":
        status = "drift" if status == "done" and found else status
        tally.changed = 0
        thing = summary_object(session, status, tally, seconds, drift=found)
    else:
        thing = summary_object(session, status, tally, seconds, dry_run=True)
    facts = facts_of(
        session,
        replace(result, status=status),
        tally,
        seconds,
        group=group_name(settings.gid),
        look=_again(args, settings),
    )
    report.summary(look_summary(facts, found), thing, facts.reason)
    return exit_status(result, status)


def _again(args: argparse.Namespace, settings: Settings) -> list[str]:
    """Return the options that a command about the same share needs again."""
    group = group_name(settings.gid)
    words = ["--group", group] if group != DEFAULT_GROUP else []
    for name in settings.excludes:
        words += [] if name in DEFAULT_EXCLUDES else ["--exclude", name]
    if not set(DEFAULT_EXCLUDES) <= set(settings.excludes):
        words.append("--no-default-excludes")
    if settings.skip_links:
        words += ["--hard-links", "skip"]
    if settings.cross:
        words.append("--cross-filesystems")
    return words + state_option(args)
