"""`archipmigrate mapfiles`: every volume's mapfile to v2."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from ..engine.loop import run_loop
from ..engine.session import Lanes
from ..engine.settle import settle_run
from ..errors import JournalError, UsageError
from ..journal.location import default_state
from ..journal.runs import list_runs, open_run
from ..journal.store import Journal, RunHeader
from ..maps.format.codec import codec_of
from ..maps.jobs.upgrade import MapfilesJob, release_left
from ..maps.journal.sizes import Sizes
from ..maps.journal.tables import is_surveying, prepare_tables
from ..maps.report import VolumesReport
from ..share import Share, open_share
from ..ui.report import Report
from ..ui.text import quoted
from . import options, show
from .blocker import Blocker, add_place, blocker_of, find_blocker, open_store
from .reach import wait_for_mount
from .session import (
    Session,
    check_room,
    choose_lanes,
    exit_status,
    find_or_make,
    locked,
    state_directory,
    state_option,
)
from .sizes import add_sizes, given_sizes

SIZES = ".journal-sizes"
DESCRIPTION = """\
Bring every volume's mapfile to the format of v0.4 (v2): v1 maps, with or without
the prefix archip_, where v0.4 or v0.3 put them; v0 maps of Pithos, given their
sizes; renames that were cut off. Each map is taken under the blocker's own locks,
checked, written anew, read back, and only then the old one goes. At every instant
v0.4 finds either the complete old or the complete new map.

What cannot be upgraded safely is left alone and reported: invalid, shadowed,
conflict, leftover or locked, with the reason. The old maps are kept in the state
directory, and `archipmigrate undo` puts them back."""
EXAMPLES = """\
  archipmigrate mapfiles -n                       what would be done
  archipmigrate mapfiles                          do it, as archipelago.conf says
  archipmigrate mapfiles --maps /srv/archip/maps --locks /srv/archip/locks
  archipmigrate mapfiles --sizes sizes.csv        v0 maps, too: lines of mapfile,size
  archipmigrate mapfiles show VOLUME              the header of one map; -v its entries

exit status: 0 every volume is upgraded or current; 1 stopped (resumable); 2 usage;
3 some volumes are neither; 11 another run holds the share; 130, 143 interrupted"""


def add_parser(commands: options.Commands[options.Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "mapfiles", "bring mapfiles to v2", DESCRIPTION, EXAMPLES, run
    )
    add_place(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="change nothing; say what would become of each"
    )
    parser.add_argument(
        "--survey",
        dest="dry_run",
        action="store_true",
        help="only look at what there is (the same as --dry-run)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="read the blocks of maps that are v2 already, too, and see that they can be opened",
    )
    add_sizes(parser)
    parser.add_argument(
        "--no-keep",
        dest="keep",
        action="store_false",
        help="keep no old maps: takes no room in the state directory, and rules out an undo",
    )
    add_log_dir(parser)
    parser.add_argument(
        "--fresh", action="store_true", help="start over instead of resuming an interrupted run"
    )
    options.add_jobs(parser)
    options.add_backend(parser)
    options.add_state(parser)
    options.add_output(parser, lists=False)
    show.add_parser(parser)


def add_log_dir(parser: options.Parser, only: str = "") -> None:
    """Add --log-dir; *only* says for what."""
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        type=Path,
        help=f"{only}write upgraded.log, invalid.log and failed.log there, as finalize_upgrade_0.4 "
        "does",
    )


def run(args: argparse.Namespace) -> int:
    """Run or resume the job. Raises Error."""
    codec_of(args.backend)
    maps, blocker = find_blocker(args)
    log_dir = log_directory(args)
    share = open_share(maps)
    with given_sizes(args) as sizes:
        blocker = replace(blocker, check=args.check, keep=args.keep, sizes=sizes.digest)
        if args.dry_run:
            return look(args, share, blocker, sizes, log_dir)
        report = Report("mapfiles", options.verbosity(args))
        state = state_directory(args, share)
        with locked(state, share) as lock:
            check_room(state, share, report)
            wait_for_mount(state, share, report)
            _settle_others(args, state, share, blocker, report)
            journal = find_or_make(args, share, "mapfiles", blocker.as_dict(), report)
            header = journal.read_header()
            lock.sign(header.run)
            if sizes.digest and not (path := sizes_path(state, header.run)).exists():
                sizes.save(path)
            return work(args, state, share, journal, header, report, log_dir)


def look(
    args: argparse.Namespace, share: Share, blocker: Blocker, sizes: Sizes, log_dir: Path | None
) -> int:
    """Only look. Raises Error."""
    report = Report("mapfiles", options.verbosity(args))
    journal = Journal(None, new=True)
    journal.commit([prepare_tables])
    header = RunHeader("", "mapfiles", share.identity, os.fsdecode(share.path), "", {})
    opened = open_store(share, blocker, header, args.backend, sizes, args.state or default_state())
    header.backend = opened.name
    job = MapfilesJob(opened.store, dry_run=True, check=blocker.check)
    session = Session(share, opened, journal, header, _lanes(args, share), report)
    return _run(args, session, blocker, job, log_dir)


def work(
    args: argparse.Namespace,
    state: Path,
    share: Share,
    journal: Journal,
    header: RunHeader,
    report: Report,
    log_dir: Path | None,
) -> int:
    """Run one session over *journal* and report it. Raises Error."""
    blocker = blocker_of(args, header)
    sizes = saved_sizes(state, header)
    opened = open_store(share, blocker, header, args.backend, sizes, state)
    header.backend = opened.name
    job = MapfilesJob(opened.store, check=blocker.check, say=partial(_say, report))
    journal.commit([prepare_tables])
    session = Session(
        share,
        opened,
        journal,
        header,
        _lanes(args, share, surveying=is_surveying(journal)),
        report,
        getattr(args, "failed", False),
    )
    try:
        return _run(args, session, blocker, job, log_dir)
    finally:
        sizes.close()


def _run(
    args: argparse.Namespace,
    session: Session,
    blocker: Blocker,
    job: MapfilesJob,
    log_dir: Path | None,
) -> int:
    journal = session.journal
    try:
        with masked(blocker.umask):
            result, _, seconds = session.run(job)
        volumes = VolumesReport(session.report, journal)
        if result.status == "done" and volumes.left:
            result = replace(result, status="failures")
            session.header.status = result.status
            journal.commit([lambda j: j.write_header(session.header)])
        volumes.show(
            session.header,
            status=result.status,
            reason=result.reason,
            seconds=seconds,
            dry_run=job.dry_run,
            runs=state_option(args),
            logs=["--log-dir", str(log_dir.absolute())] if log_dir else [],
            again=_again(args),
        )
        if log_dir is not None:
            volumes.write_logs(log_dir)
    finally:
        journal.close()
        session.report.close()
    return exit_status(result, result.status)


def _lanes(args: argparse.Namespace, share: Share, *, surveying: bool = True) -> Lanes:
    """Return the lanes; on a local disk a survey gets one, for two would wait for each other."""
    lanes = choose_lanes(args, share)
    is_local = not share.is_nfs and args.jobs == options.AUTO
    return replace(lanes, survey=1) if surveying and is_local else lanes


def _again(args: argparse.Namespace) -> list[str]:
    """Return the options that a command over the same maps needs again."""
    named = {"config": "--config", "maps": "--maps", "locks": "--locks", "sizes": "--sizes"}
    words = []
    for name, option in named.items():
        if (value := getattr(args, name, None)) is not None:
            words += [option, str(value)]
    if getattr(args, "pithos_db", None) and not args.sizes:
        words += ["--pithos-db", "URL"]  # there may be a password in it
    return words + state_option(args)


def saved_sizes(state: Path, header: RunHeader) -> Sizes:
    """Return the sizes that a run was begun with. Raises JournalError if they are not there."""
    if not header.settings.get("sizes"):
        return Sizes.empty()
    path = sizes_path(state, header.run)
    if not path.exists():
        raise JournalError(
            f"{header.run} was killed before its sizes were saved: give the same command again"
        )
    return Sizes.open(path)


def sizes_path(state: Path, run_name: str) -> Path:
    """Return where a run keeps the sizes that it was given."""
    return state / f"{run_name}{SIZES}"


def settle_mapfiles(
    args: argparse.Namespace,
    state: Path,
    share: Share,
    journal: Journal,
    report: Report,
    *,
    finish: bool,
) -> None:
    """Settle what a killed session of another run left of upgrades. Raises Error.

    Those that it had not got far with are taken back, unless they are to be *finish*ed.
    """
    header = journal.read_header()
    blocker = blocker_of(args, header)
    journal.commit([prepare_tables])
    with (
        contextlib.closing(Sizes.empty()) as sizes,
        contextlib.closing(
            open_store(share, blocker, header, args.backend, sizes, state)
        ) as opened,
        masked(blocker.umask),
    ):
        run_loop(settle_run, MapfilesJob(opened.store, finish=finish), journal, 1)
        for volume in release_left(opened.store, journal):
            report.remark(f"{quoted(volume)}: its lock cannot be looked at: left as it is")


@contextlib.contextmanager
def masked(umask: int) -> Iterator[None]:
    """Have the blocker's umask for as long as files are made."""
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


def _settle_others(
    args: argparse.Namespace, state: Path, share: Share, blocker: Blocker, report: Report
) -> None:
    """Finish what earlier runs left between old and new, unless this command resumes them."""
    for header in list_runs(state):
        if header.job != "mapfiles" or header.share != share.identity or header.undone:
            continue
        if header.is_resumable and not args.fresh and header.settings == blocker.as_dict():
            continue
        journal = open_run(state, header.run)
        try:
            if journal.unsettled():
                report.remark(f"finishing what {header.run} left of upgrades")
                settle_mapfiles(args, state, share, journal, report, finish=False)
        finally:
            journal.close()


def log_directory(args: argparse.Namespace) -> Path | None:
    """Return where logs are written, if they are. Raises UsageError."""
    directory: Path | None = args.log_dir
    if directory is None:
        return None
    if not (directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)):
        raise UsageError(f"--log-dir {directory}: no directory that can be written to")
    return directory


def _say(report: Report, text: str) -> None:
    """Remark something, from a worker thread: the loop's may be painting."""
    trio.from_thread.run_sync(report.remark, text)
