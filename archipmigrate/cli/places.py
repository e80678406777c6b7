"""Where maps, locks and the sizes of v0 maps are, as options or the environment say."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..config.files import CONFIG
from ..maps.journal.pithos import read_pithos_db, read_sizes_csv
from ..maps.journal.sizes import Sizes
from .parser import Parser


def add_place(parser: Parser, **more: object) -> None:
    """Add --config, --maps, --locks and --blocks; *more* goes to each option."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"v0.4's configuration, section [blockerm] (default: {CONFIG})",
        **more,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--maps",
        metavar="DIR",
        help="the maps directory, without a configuration: umask 007, files belong to the caller",
        **more,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--locks",
        metavar="DIR",
        help="the lock directory that goes with --maps (default: locks lie among the maps)",
        **more,  # type: ignore[arg-type]
    )
    parser.add_argument(
        "--blocks",
        metavar="DIR",
        help="the directory of the volumes' objects (default: that of the configuration, section "
        "[blockerb], or `blocks` beside the maps)",
        **more,  # type: ignore[arg-type]
    )


def add_sizes(parser: Parser, **more: object) -> None:
    """Add --sizes and --pithos-db; *more* goes to each option."""
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--sizes",
        metavar="FILE",
        type=Path,
        help="the sizes of v0 maps: CSV, mapfile,size",
        **more,  # type: ignore[arg-type]
    )
    sizes.add_argument(
        "--pithos-db",
        metavar="URL",
        help="read the sizes from Pithos' database, by a URL of SQLAlchemy "
        "(pip install sqlalchemy)",
        **more,  # type: ignore[arg-type]
    )


@contextlib.contextmanager
def given_sizes(args: argparse.Namespace) -> Iterator[Sizes]:
    """Read the sizes that were given. Raises Error."""
    if args.sizes:
        sizes = Sizes.load(read_sizes_csv(args.sizes))
    elif args.pithos_db:
        sizes = Sizes.load(read_pithos_db(args.pithos_db))
    else:
        sizes = Sizes.empty()
    try:
        yield sizes
    finally:
        sizes.close()


def options_same_share(args: argparse.Namespace) -> list[str]:
    """Return the options that another command about the same maps needs."""
    given = {
        "--config": args.config,
        "--maps": args.maps,
        "--locks": args.locks,
        "--blocks": args.blocks,
        "--sizes": args.sizes,
    }
    words = []
    for option, value in given.items():
        if value is not None:
            words += [option, str(value)]
    if args.v03_stopped:
        words.append("--v03-stopped")
    if args.pithos_db and not args.sizes:
        words += ["--pithos-db", "URL"]  # there may be a password in it
    return words
