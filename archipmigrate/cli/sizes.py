"""The sizes of v0 maps, as options or the environment say where they are."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..maps.journal.pithos import read_pithos_db, read_sizes_csv
from ..maps.journal.sizes import Sizes
from . import options


def add_sizes(parser: options.Parser, **more: object) -> None:
    """Add what says where sizes are; *more* goes to every option."""
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
        help="read them from Pithos' database, by an URL of SQLAlchemy "
        "(pip install 'archipmigrate[pithos]')",
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
