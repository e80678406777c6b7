"""`archipmigrate resume`: go on with a run that was cut off."""

from __future__ import annotations

import argparse
from dataclasses import replace

from ..journal.runs import open_run
from ..perms.job import listed_changes
from ..ui.report import Report
from . import mapfiles, options, perms, undo
from .reach import reach, wait_for_mount
from .session import check_room, find_run, locked, share_of, state_directory

DESCRIPTION = """\
Go on with a run that was interrupted, stopped or killed, where it was; with --failed
also try again what failed in it. The options that decide what is changed are the
run's own."""
EXAMPLES = """\
  archipmigrate resume                                the latest unfinished run
  archipmigrate resume --failed                       the latest run with failures
  archipmigrate resume perms-20261122T184054-b931 --path /mnt/archip

exit status: that of the command that is resumed"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "resume", "go on with a run that was cut off", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="the run (default: the latest unfinished one)"
    )
    parser.add_argument(
        "--failed", action="store_true", help="try the failures of the run again, too"
    )
    undo.add_path(parser)
    options.add_work(parser)
    options.add_domain(parser)
    options.add_state(parser)
    mapfiles.add_log_dir(parser, "for a run of mapfiles: ")
    options.add_output(parser, lists=True)


def run(args: argparse.Namespace) -> int:
    """Resume a run. Raises Error."""
    state = state_directory(args)
    wanted = "unfinished or has failures" if args.failed else "unfinished"
    header = find_run(state, args.run_name, (*undo.JOBS, "undo"), wanted)
    log_dir = mapfiles.log_directory(args)
    # Volumes have lines of their own, with --list or without.
    decode = None if header.job == "mapfiles" else listed_changes
    report = Report(header.job, options.verbosity(args), decode)
    failed = args.failed and header.status == "failures" and not header.undone
    if not (header.is_resumable or failed):
        report.remark(f"{header.run} has nothing left to do ({header.undone or header.status})")
        return 0
    if header.job == "undo":
        return undo.undo(args, state, find_run(state, str(header.settings["of"]), undo.JOBS, ""))
    share = share_of(header, args.path, args.nfs4_domain)
    state_directory(args, share)
    with locked(state, share) as lock:
        share = replace(share, lock=lock.fd)
        journal = open_run(state, header.run)
        header = journal.read_header()
        lock.sign(header.run)
        check_room(state, share, report)
        if header.job == "mapfiles":
            wait_for_mount(state, share, report)
            return mapfiles.work(args, state, share, journal, header, report, log_dir)
        settings = perms.Settings.from_dict(header.settings)
        share = reach(args, share, report, args.nfs4_domain or settings.domain)
        return perms.work(args, share, settings, journal, header, report)
