"""`archipmigrate testshare`: make a sample share to try the other commands on."""

from __future__ import annotations

import argparse
import errno
import os
import shlex

from ..errors import FatalError, UsageError
from ..testshare import Layout, make_share

DESCRIPTION = """\
Make a share like those of Archipelago v0.3: objects in DIR/blocks, volumes with v1 mapfiles in
DIR/maps, DIR/locks. Files are 0600, directories 0700, all owned by whoever runs this. The same
arguments give the same share. DIR must not exist yet, or be empty.
"""

EPILOG = """\
examples:
  archipmigrate testshare /tmp/share
      20,000 objects and 50 volumes, where Archipelago v0.4 looks for them
  archipmigrate testshare /tmp/share --objects 1000000 --volumes 200 --object-bytes 0
      a million empty objects: two million entries with the directories
  archipmigrate testshare /tmp/share --layout deep
      eight levels of directories instead of three
"""

LAYOUTS = """\
where the files lie: aa/bb/cc/NAME by sha256 of the name, as v0.4 has it (filed), all in one
directory (flat), or eight levels deep (deep); default: %(default)s
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the command and its options."""
    parser = commands.add_parser(
        "testshare",
        help="make a sample share to try things on",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", help="the directory to make; its parent exists")
    parser.add_argument(
        "--objects", type=_count, default=20_000, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--volumes", type=_count, default=50, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--layout", choices=[layout.value for layout in Layout], default="filed", help=LAYOUTS
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="another seed, other names and contents"
    )
    parser.add_argument(
        "--object-bytes",
        type=_count,
        default=64,
        metavar="N",
        help="the most that an object holds; default: %(default)s",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the share, say what was made and what can be done with it. Return the exit status."""
    shown = shlex.quote(os.fsencode(args.directory).decode(errors="backslashreplace"))
    try:
        size = make_share(
            args.directory,
            objects=args.objects,
            volumes=args.volumes,
            layout=Layout(args.layout),
            seed=args.seed,
            object_bytes=args.object_bytes,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        message = f"cannot make a share in {shown}: {error.strerror}"
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise UsageError(message) from error
        raise FatalError(message) from error
    print(
        f"made {shown}: {size.files} files ({args.objects} objects, {size.volumes} maps) in "
        f"{size.directories} directories; next: archipmigrate perms {shown} -n"
    )
    return 0


def _count(text: str) -> int:
    """Read a number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"not a number from 0 on: {text!r}")
    return int(text)
