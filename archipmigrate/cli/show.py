"""`archipmigrate mapfiles show`: show one volume's map."""

from __future__ import annotations

import argparse
import os

from ..errors import FatalError, ShareError
from ..layout.names import PREFIX
from ..maps.blocker.entries import BadEntry, map_blocks
from ..maps.blocker.volume_files import VolumeFile, find_volume_files
from ..maps.format.codec import codec_of
from ..maps.format.head import Head
from ..maps.format.v2 import ENTRY_SIZE, EntryFlag, MapFlag, decode_entry_v2
from ..maps.journal.sizes import Sizes
from ..maps.locate import locate_maps
from ..maps.report import named
from ..share import open_share
from ..tree.files import Tree
from ..ui.printer import print_line
from ..ui.text import as_json, count, printable, quoted
from . import options
from .places import add_place, add_sizes, given_sizes

DESCRIPTION = """\
Show the map of a volume as v0.4 finds it, or will once it is upgraded: version,
size, number of objects, flags, epoch, path; with -v also its entries, one a line:
number, flags, name of the object. Takes no lock and changes nothing."""
EXAMPLES = """\
  archipmigrate mapfiles show myvolume
  archipmigrate mapfiles show -v myvolume | head
  archipmigrate mapfiles show --json -v myvolume

exit status: 0 shown; 1 no such map, or it cannot be read; 2 usage"""


def add_parser(mapfiles: options.Parser) -> None:
    """Add the command below `mapfiles`, whose options may also come before it."""
    commands = mapfiles.add_subparsers(metavar="show", title="one volume")
    parser = options.command(commands, "show", "show one volume's map", DESCRIPTION, EXAMPLES, run)
    parser.add_argument("volume", metavar="VOLUME", help="the volume, without the prefix archip_")
    # Options before `show` were read by `mapfiles`: no default of ours may replace them.
    add_place(parser, default=argparse.SUPPRESS)
    add_sizes(parser, default=argparse.SUPPRESS)
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print JSON objects, one a line",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="also print the entries",
    )


def run(args: argparse.Namespace) -> int:
    """Show a map. Raises Error."""
    maps, _ = locate_maps(args.config, args.maps, args.locks)
    share = open_share(maps)
    try:
        with given_sizes(args) as sizes:
            _show(args, Tree(share.fd), sizes)
    except BrokenPipeError:
        raise
    except (OSError, BadEntry) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise FatalError(f"the map of {_shown(args)} cannot be read: {what}") from None
    finally:
        share.close()
    return 0


def _show(args: argparse.Namespace, tree: Tree, sizes: Sizes) -> None:
    volume = os.fsencode(args.volume).removeprefix(PREFIX)
    files = find_volume_files(tree, volume, sizes)
    if not files.volume.exists:
        raise ShareError(
            f"there is no map of {_shown(args)} where v0.4, v0.3 or Pithos would put it"
        )
    verdict = files.verdict
    head = verdict.head
    if head is None or head.version is None:
        raise FatalError(f"the map of {_shown(args)} cannot be read: {printable(verdict.reason)}")
    prefixed = files.volume.plain.head is not head
    result = verdict.result.replace("pending", "to be upgraded")
    _print_head(args, files.of_name(prefixed=prefixed)[0], head, result, verdict.reason)
    if args.verbose:
        number = 0
        for block in map_blocks(tree, files, head, prefixed=prefixed, codec=codec_of("auto")):
            for piece in block:
                for at in range(0, len(piece), ENTRY_SIZE):
                    _print_entry(args, number, piece[at : at + ENTRY_SIZE])
                    number += 1


def _shown(args: argparse.Namespace) -> str:
    return quoted(os.fsencode(args.volume))


def _print_head(
    args: argparse.Namespace, file: VolumeFile, head: Head, result: str, reason: str
) -> None:
    path = b"/".join((*file.parent, file.name))
    flags = _names(MapFlag, head.flags)
    if args.json:
        thing = {
            "type": "map",
            **named("volume", file.name.removeprefix(PREFIX)),
            **named("path", path),
            "result": result,
            "reason": reason,
            "version": head.version,
            "size": head.size,
            "objects": head.objects,
            "block_size": head.block_size,
            "flags": flags,
            "epoch": head.epoch if head.version == 2 else None,
        }
        print_line(as_json(thing))
        return
    volume = quoted(file.name.removeprefix(PREFIX))
    print_line(f"{volume}: {result}{f' ({printable(reason)})' if reason else ''}")
    print_line(f"  v{head.version} at {quoted(path)}")
    facts = f"  {head.size:,} bytes, {count(head.objects, 'object')}"
    if head.version == 2:
        facts += f" of {head.block_size:,} bytes, epoch {head.epoch}"
        facts += f", flags {' '.join(flags) or '-'}"
    print_line(facts)


def _print_entry(args: argparse.Namespace, number: int, raw: bytes) -> None:
    entry = decode_entry_v2(raw)
    flags = _names(EntryFlag, entry.flags)
    if args.json:
        name = entry.name.decode(errors="replace")
        print_line(as_json({"type": "entry", "number": number, "flags": flags, "name": name}))
    else:
        print_line(f"{number} {','.join(flags) or '-'} {quoted(entry.name)}")


def _names(kind: type[MapFlag | EntryFlag], flags: int) -> list[str]:
    """Return the names of the flags that are set; those without a name as one number."""
    named = [str(flag.name).lower() for flag in kind if flags & flag]
    rest = flags & ~sum(kind)
    return [*named, *([f"{rest:#x}"] if rest else [])]
