"""The phases of `archipmigrate relocate`: --prelink, --drop-old, --back, --prune-deleted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

from ..errors import FatalError, UsageError
from ..jobs.ended import Ended
from ..jobs.kind import Tell
from ..jobs.options import RunOptions
from ..jobs.registry import is_of
from ..journal.runs import list_runs, open_run
from ..journal.store import RunHeader
from ..prelink.enter import enter
from ..prelink.kind import KIND
from ..prelink.phases import Phase
from ..prelink.steps import CROSSES
from ..relocate.locate import Places, locate_objects
from ..session.aside import prune_kept
from ..session.open import check_maps_undone, state_directory
from ..session.work import begin, dry_run, resume
from ..share import open_share
from ..share.daemons import check_stopped
from ..ui.printer import print_line
from ..ui.report import Report
from ..ui.text import as_json, count
from . import options
from .parser import Parser

USAGE = 2


def add_phases(parser: Parser) -> None:
    """Add the options that ask for a phase."""
    phases = parser.add_mutually_exclusive_group()
    phases.add_argument(
        "--prelink",
        action="store_true",
        help="almost no downtime: give every block its second name while v0.3 runs, as often as "
        "you like; then, with --v03-stopped, see to what has changed and move the maps",
    )
    phases.add_argument(
        "--drop-old",
        action="store_true",
        help="after --prelink, while v0.4 runs: remove the old names, after a last look",
    )
    phases.add_argument(
        "--back",
        action="store_true",
        help="after --prelink: back to v0.3, maps first; needs --v04-stopped",
    )
    phases.add_argument(
        "--prune-deleted",
        action="store_true",
        help="after --prelink: remove, for good, what was kept aside of objects that were deleted "
        "or made again",
    )
    parser.add_argument(
        "--keep-old",
        action="store_true",
        help="with --prelink --v03-stopped: stop once all is linked, with both names (this is the "
        "default, too)",
    )


def is_asked(args: argparse.Namespace) -> bool:
    """Whether one of the phases is asked for."""
    asked = bool(args.prelink or args.drop_old or args.back or args.prune_deleted)
    others = {
        "--copy": args.copy,
        "--prune": args.prune,
        "--pithos-blocks": args.pithos_blocks,
        "--pithos-maps": args.pithos_maps,
        "--pithos-migrate": args.pithos_migrate,
    }
    if asked and (given := [option for option, is_given in others.items() if is_given]):
        raise UsageError(f"{given[0]} is for relocate in one go: it does not go with phases")
    if asked and (args.copy or args.pithos_migrate or args.pithos_blocks or args.pithos_maps):
        raise UsageError(
            "the phases of --prelink copy nothing: copy Pithos' own trees to the same places below "
            "the blockers' directories before (cp -an), or relocate without --prelink"
        )
    if args.keep_old and not args.prelink:
        raise UsageError("--keep-old goes with --prelink")
    return asked


def run(args: argparse.Namespace, places: Places, same_share: Sequence[str]) -> int:
    """Have a run begin, or enter a phase. Raises Error."""
    if args.prune_deleted:
        return _prune(args, places)
    wanted = _wanted(args)
    if args.fresh:
        raise UsageError("a run of --prelink goes on, or is undone: its journal is needed")
    if args.dry_run and wanted is not Phase.LINK:
        raise UsageError("-n goes with --prelink alone: see relocate -n for the rest")
    blocks, settings = locate_objects(places)
    run_options = replace(options.run_options(args), path=blocks)
    subject = KIND.subject.in_dry_run() if args.dry_run else KIND.subject
    with closing(Report(subject, options.verbosity(args), KIND.decode)) as report:
        tell = partial(KIND.tell, report=report, words=options.words(args, list(same_share)))
        if args.dry_run:
            return _status(dry_run(KIND, settings, open_share(blocks), run_options, report, tell))
        header = _run_to_continue(args, blocks, wanted)
        if header is None:
            if wanted is Phase.SURVEY:
                check_stopped()
            ended = begin(KIND, settings, open_share(blocks), run_options, report, tell)
            if wanted is Phase.LINK or ended.status != "done":
                return _status(ended)
            header = ended.header
        if wanted is Phase.BACK:
            check_maps_undone(header, run_options.state_path, run_options)
        return _status(_go_on(header, wanted, run_options, report, tell))


def _go_on(
    header: RunHeader, wanted: Phase, run_options: RunOptions, report: Report, tell: Tell
) -> Ended:
    ended = resume(
        header, run_options, report, tell, failed=True, enter=partial(enter, wanted=wanted)
    )
    if ended is None:
        raise FatalError(f"{header.run} was taken back by another session")
    return ended


def _prune(args: argparse.Namespace, places: Places) -> int:
    """Remove what was kept aside. Raises Error."""
    blocks, _ = locate_objects(places)
    run_options = replace(options.run_options(args), path=blocks)
    header = _needed(_standing_run(args, blocks, over=True), args)
    pruned = prune_kept(header, run_options)
    if args.json:
        thing = {"type": "summary", "job": KIND.name, "run": header.run, "status": "done"}
        print_line(as_json({**thing, "pruned": pruned.files, "bytes": pruned.bytes}))
    elif not args.quiet:
        files = count(pruned.files, "file")
        print_line(f"{header.run}: {files} of {pruned.bytes:,} bytes removed for good")
    return 0


def _wanted(args: argparse.Namespace) -> Phase:
    """Return the phase that is asked for. Raises UsageError, FatalError."""
    if args.drop_old:
        return Phase.LOOK
    if args.back:
        if not args.v04_stopped:
            raise FatalError(
                "v0.4 would go on writing to what v0.3 does not see: stop it on all nodes, then "
                "repeat this with --v04-stopped"
            )
        check_stopped()
        return Phase.BACK
    return Phase.SURVEY if args.v03_stopped else Phase.LINK


def _run_to_continue(args: argparse.Namespace, blocks: str, wanted: Phase) -> RunHeader | None:
    """Return the run of this share that goes on; None if a new one is to begin.

    Raises FatalError if there is none, and the phase needs one.
    """
    begins = wanted in (Phase.LINK, Phase.SURVEY)
    header = _standing_run(args, blocks, over=not begins)
    return header if begins else _needed(header, args)


def _needed(header: RunHeader | None, args: argparse.Namespace) -> RunHeader:
    if header is None:
        raise FatalError(
            "no run of relocate --prelink on this share in "
            f"{options.run_options(args).state_path}: it is the first step, and its journal is "
            "needed"
        )
    return header


def _standing_run(args: argparse.Namespace, blocks: str, *, over: bool) -> RunHeader | None:
    """Return the latest run of this share that was not taken back.

    With *over* also one that has come to its end.
    """
    with closing(open_share(blocks)) as share:
        state = state_directory(options.run_options(args), share)
    for header in reversed(list(list_runs(state))):
        if not is_of(header, KIND) or header.share != share.identity:
            continue
        if header.undone or header.superseded:
            continue
        with closing(open_run(state, header.run)) as journal:
            is_over = not KIND.rests(journal)
        if is_over and not over:
            raise FatalError(
                f"{header.run} has come to its end: the old names are gone. Back to v0.3 leads "
                "relocate --back --v04-stopped; to begin anew, forget that run first: "
                f"{options.run_options(args).command('forget', header.run)}"
            )
        return header
    return None


def _status(ended: Ended) -> int:
    return USAGE if ended.reason == CROSSES else options.exit_status(ended)
