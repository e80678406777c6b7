"""`archipmigrate testshare`: make a sample share to try the other commands on."""

from __future__ import annotations

import argparse
import errno
import os

from ..errors import FatalError, UsageError
from ..testshare import (
    Layout,
    MapPlacement,
    OtherVolumes,
    RefusedDirectory,
    ShareSize,
    make_share,
    make_v03_share,
)
from ..ui.printer import print_line
from ..ui.text import command_line
from . import options
from .parser import Commands, Parser

DESCRIPTION = """\
Make a share like those of Archipelago v0.3: objects in DIR/blocks, volumes with v1 mapfiles in
DIR/maps, DIR/locks. Volumes of other kinds can be added. Files are 0600 (locks 0660), directories
0700, all owned by whoever runs this. The same arguments give the same share. DIR must not exist
yet, or be an empty directory of the caller's that nobody else can write to, and no symbolic link.

--layout v0.3 makes a share as v0.3 leaves it: blocks and maps where v0.3 puts them, under its
names (archip_ and sha256 of archip_VOLUME_NUMBER); beside each map a lock that was never released;
locks of deleted volumes, empty maps of volumes that never were, empty objects of 64 hex digits; a
volume whose name is too short for v0.4. DIR/locks is not made.
"""

V03 = "v0.3"
REFUSED = (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST)

EXAMPLES = """\
  archipmigrate testshare /tmp/share
      20,000 objects and 50 volumes, where Archipelago v0.4 looks for them
  archipmigrate testshare /tmp/share --objects 1000000 --volumes 200 --object-bytes 0
      a million empty objects: two million entries with the directories
  archipmigrate testshare /tmp/share --layout deep
      eight levels of directories instead of three
  archipmigrate testshare /tmp/share --v0 5 --v2 5 --half-renamed 2 --locks 3
      also volumes of other kinds, three of them in use elsewhere; /tmp/share/sizes.csv has the
      sizes of the v0 ones, as Pithos knows them
  archipmigrate testshare /tmp/share --v1-in-place 5 --map-place v03
      maps where v0.3 has them, and v0.4 does not find them
  archipmigrate testshare /tmp/share --layout v0.3 --pithos /tmp/pithos --sums /tmp/sums.json
      a share as v0.3 left it, with Pithos' trees apart, and the sha256 of each volume
"""

LAYOUTS = """\
where the files lie: in aa/bb/cc/NAME by sha256 of the name, as in v0.4 (filed), all in one
directory (flat), eight levels deep (deep), or where v0.3 puts each, with all else that it leaves
(v0.3); default: %(default)s
"""

MAP_PLACES = """\
where maps lie that are not v2: where v0.4 looks for them (v04); prefixed v1 maps where v0.3 has
them, maps/vo/l0/00/archip_vol000000 (v03); or v0 maps where Pithos has them (pithos);
default: %(default)s
"""


def add_parser(commands: Commands[Parser]) -> None:
    """Register the command and its options."""
    help_line = "make a sample share to try things on"
    parser = options.command(commands, "testshare", help_line, DESCRIPTION, EXAMPLES, run)
    parser.add_argument("directory", metavar="DIR", help="the directory to make; its parent exists")
    parser.add_argument(
        "--objects",
        type=options.number(0),
        default=20_000,
        metavar="N",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--volumes", type=options.number(0), default=50, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--layout",
        choices=[*(layout.value for layout in Layout), V03],
        default="filed",
        help=LAYOUTS,
    )
    parser.add_argument(
        "--seed",
        type=options.number(0),
        default=0,
        metavar="N",
        help="another seed gives other names and contents",
    )
    parser.add_argument(
        "--object-bytes",
        type=options.number(0),
        default=64,
        metavar="N",
        help="the largest size of an object; default: %(default)s",
    )
    _add_v03(parser)
    _add_others(parser)


def _add_v03(parser: argparse.ArgumentParser) -> None:
    """Add the options of shares as v0.3 left them."""
    group = parser.add_argument_group("with --layout v0.3")
    group.add_argument(
        "--pithos",
        metavar="DIR",
        help="also make Pithos' own trees there, like DIR above: DIR/maps (v0 maps), DIR/data "
        "(their blocks), DIR/sizes.csv; a tenth as many images and blocks as volumes and objects; "
        "every fifth volume is made from one",
    )
    group.add_argument(
        "--sums",
        metavar="FILE",
        help="write the size and sha256 of each volume's whole content, as v0.3 serves it, to a "
        "new FILE (JSON); hashes 4 MiB for each object, about 3 ms on a core",
    )


def _add_others(parser: argparse.ArgumentParser) -> None:
    """Add the options for volumes of other kinds."""
    group = parser.add_argument_group(
        "volumes of other kinds",
        "added to --volumes; they refer to objects that do not exist",
    )
    for option, volumes in (
        ("--v1", "with v1 maps, like those of --volumes"),
        ("--v1-in-place", "with v1 maps whose names have no archip_ before them"),
        ("--v0", "with v0 maps, as Pithos writes them; DIR/sizes.csv has their sizes"),
        ("--v2", "with v2 maps: already upgraded"),
        (
            "--half-renamed",
            "with v2 maps still called archip_..., left by an upgrade that was cut off",
        ),
    ):
        group.add_argument(
            option, type=options.number(0), default=0, metavar="N", help=f"N volumes {volumes}"
        )
    group.add_argument(
        "--map-objects",
        type=options.number(0),
        default=OtherVolumes().objects,
        metavar="N",
        help="the number of objects in each of these; default: %(default)s",
    )
    group.add_argument(
        "--map-place",
        choices=[place.value for place in MapPlacement],
        default=MapPlacement.V04.value,
        help=MAP_PLACES,
    )
    group.add_argument(
        "--locks",
        type=options.number(0),
        default=0,
        metavar="N",
        help="the first N of these are locked by another host",
    )
    group.add_argument(
        "--lock-dir", action="store_true", help="locks lie in DIR/locks, not beside the maps"
    )


def run(args: argparse.Namespace) -> int:
    """Make the share; print what was made and what to try next. Return the exit status."""
    shown = command_line([args.directory])
    try:
        size = _make(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        message = f"cannot make a share in {shown}: {error.strerror}"
        if isinstance(error, RefusedDirectory) or error.errno in REFUSED:
            raise UsageError(message) from error
        raise FatalError(message) from error
    print_line(
        f"made {shown}: {size.files} files ({args.objects} objects, {size.volumes} maps) in "
        f"{size.directories} directories; next: {_next_command(args)}"
    )
    return 0


def _next_command(args: argparse.Namespace) -> str:
    directory = os.path.abspath(args.directory)
    if args.layout != V03:
        return command_line(["archipmigrate", "perms", directory, "-n"])
    blocks, maps = (os.path.join(directory, name) for name in ("blocks", "maps"))
    return command_line(["archipmigrate", "relocate", "--blocks", blocks, "--maps", maps, "-n"])


def _make(args: argparse.Namespace) -> ShareSize:
    """Make the share. Raises ValueError, OSError."""
    others = OtherVolumes(
        v1=args.v1,
        v1_in_place=args.v1_in_place,
        v0=args.v0,
        v2=args.v2,
        half_renamed=args.half_renamed,
        objects=args.map_objects,
        placement=MapPlacement(args.map_place),
        locks=args.locks,
        lock_dir=args.lock_dir,
    )
    sizes = {
        "objects": args.objects,
        "volumes": args.volumes,
        "seed": args.seed,
        "object_bytes": args.object_bytes,
    }
    if args.layout != V03:
        if args.pithos or args.sums:
            raise ValueError(f"--pithos and --sums go with --layout {V03}")
        return make_share(args.directory, **sizes, layout=Layout(args.layout), others=others)
    if others != OtherVolumes(objects=others.objects):
        raise ValueError(f"--layout {V03} has no volumes of other kinds: leave their options out")
    return make_v03_share(args.directory, **sizes, pithos=args.pithos, sums=args.sums)
