"""`archipmigrate mapfiles show`: show one volume's map."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

from ..errors import FatalError, ShareError, UsageError
from ..layout.names import PREFIX
from ..maps.blocker.content import Blocks, MissingObject, NoContent, content_map, volume_sha256
from ..maps.blocker.entries import BadEntry, map_blocks
from ..maps.blocker.volume_files import VolumeFile, VolumeFiles, find_volume_files
from ..maps.format.codec import codec_of
from ..maps.format.head import Head
from ..maps.format.v2 import ENTRY_SIZE, EntryFlag, MapFlag, decode_entry_v2
from ..maps.journal.sizes import Sizes
from ..maps.locate import locate_maps
from ..maps.report import named
from ..share import open_share
from ..tree.beneath import PIN_DIRECTORY
from ..tree.files import Tree
from ..ui.printer import print_line
from ..ui.text import as_json, count, printable, quoted
from . import options
from .parser import Parser
from .places import add_place, add_sizes, given_sizes

DESCRIPTION = """\
Show the map of a volume as v0.4 finds it, or will once it is upgraded: version,
size, number of objects, flags, epoch, path; with -v also its entries, one a line:
number, flags, name of the object. Takes no lock and changes nothing.

--sha256 hashes the whole content of the volume: as v0.3 serves it if the map is v1
and lies where v0.3 put it, else as v0.4 does. It reads what is stored, and takes
about 0.7 s for each GiB of the volume's size."""
EXAMPLES = """\
  archipmigrate mapfiles show myvolume
  archipmigrate mapfiles show -v myvolume | head
  archipmigrate mapfiles show --json -v myvolume
  archipmigrate mapfiles show --sha256 --pithos-blocks /srv/pithos/data myvolume

exit status: 0 shown; 1 no such map, or it cannot be read; 2 usage; 3 an object is
missing"""


def add_parser(mapfiles: Parser) -> None:
    """Add the command below `mapfiles`, whose options may also come before it."""
    mapfiles.stray = (
        "maps are found by --config FILE, or --maps DIR; one volume is shown by `show VOLUME`"
    )
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
    parser.add_argument(
        "--sha256", action="store_true", help="also print the sha256 of the volume's whole content"
    )
    parser.add_argument(
        "--pithos-blocks",
        metavar="DIR",
        help="with --sha256: Pithos' own directory of blocks, which v0.3 reads, too",
    )


def run(args: argparse.Namespace) -> int:
    """Show a map. Raises Error."""
    maps, settings = locate_maps(args.config, args.maps, args.locks, args.blocks)
    if args.sha256 and not settings.blocks:
        raise UsageError("--sha256 needs the directory of the volumes' objects: add --blocks DIR")
    share = open_share(maps)
    try:
        with given_sizes(args) as sizes:
            _show(args, Tree(share.fd), settings.blocks, sizes)
    except BrokenPipeError:
        raise
    except MissingObject as missing:
        words = f"the sha256 of {_shown(args)} cannot be taken: {missing}"
        print_line(printable(words), sys.stderr)
        return options.EXIT["failures"]
    except (OSError, BadEntry) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise FatalError(f"the map of {_shown(args)} cannot be read: {what}") from None
    finally:
        share.close()
    return 0


def _show(args: argparse.Namespace, tree: Tree, blocks: str, sizes: Sizes) -> None:
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
    file = files.of_name(prefixed=prefixed)[0]
    digest = _sha256(args, tree, blocks, files) if args.sha256 else ""
    _print_head(args, file, head, (result, verdict.reason), digest)
    if args.verbose:
        number = 0
        for block in map_blocks(tree, files, head, prefixed=prefixed, codec=codec_of("auto")):
            for piece in block:
                for at in range(0, len(piece), ENTRY_SIZE):
                    _print_entry(args, number, piece[at : at + ENTRY_SIZE])
                    number += 1


def _sha256(args: argparse.Namespace, tree: Tree, blocks: str, files: VolumeFiles) -> str:
    """Return the digest of the volume's content. Raises MissingObject, BadEntry, OSError, Error."""
    try:
        file, head = content_map(files)
    except NoContent as error:
        raise FatalError(f"{_shown(args)} has no content: {printable(str(error))}") from None
    with ExitStack() as stack:
        trees = []
        for path in (blocks, args.pithos_blocks):
            if path is not None:
                trees.append(Tree(_open_blocks(path)))
                stack.callback(os.close, trees[-1].root)
        try:
            return volume_sha256(tree, file, head, codec_of("auto"), Blocks(*trees))
        except OSError as error:
            why = printable(error.strerror or str(error))
            raise FatalError(f"the content of {_shown(args)} cannot be read: {why}") from None


def _open_blocks(path: str) -> int:
    """Open a directory of objects; the descriptor is the caller's. Raises ShareError."""
    try:
        return os.open(path, PIN_DIRECTORY & ~os.O_NOFOLLOW)
    except OSError as error:
        raise ShareError(f"the directory of objects {path}: {error.strerror}") from None


def _shown(args: argparse.Namespace) -> str:
    return quoted(os.fsencode(args.volume))


def _print_head(
    args: argparse.Namespace, file: VolumeFile, head: Head, verdict: tuple[str, str], digest: str
) -> None:
    result, reason = verdict
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
            **({"sha256": digest} if digest else {}),
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
    if digest:
        print_line(f"  sha256 {digest}")


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
