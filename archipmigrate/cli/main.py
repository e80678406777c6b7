"""Where the program starts: takes the command line, returns the exit status."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from .. import __version__
from ..backend.select import served
from ..errors import Error
from ..ui.printer import print_line
from ..ui.report import abandon_stdout
from .environment import Environment, unknown_words
from .parser import Formatter, Parser, add_opposites
from .streams import open_standard_streams

# Each is a module of this room.
COMMANDS = (
    "check", "guide", "config", "relocate", "perms", "plan", "verify", "mapfiles", "locks", "undo",
    "status", "resume", "forget", "testshare",
    "completion",
)  # fmt: skip
DESCRIPTION = """\
Brings an Archipelago share from v0.3 to what v0.4 expects: in parallel, resumable
after any interruption, and with an undo."""
EPILOG = """\
first steps:
  archipmigrate check                          see what keeps the site from v0.4
  archipmigrate guide                          see which steps remain, in order
  archipmigrate relocate -n                    see what v0.4 would not find
  archipmigrate relocate --v03-stopped         move it to where v0.4 looks
  archipmigrate perms -n --list /srv/archip    see what would change
  archipmigrate perms /srv/archip              change it
  archipmigrate verify /srv/archip             check the result
  archipmigrate mapfiles -n                    see what would happen to volumes' maps
  archipmigrate mapfiles                       upgrade them to v2
  archipmigrate undo                           put back what the latest run changed

Every option can also be given in the environment: --jobs 8 is ARCHIPMIGRATE_JOBS=8."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # as stderr has it: not all names are ASCII
    try:
        return _run(argv)
    except Error as error:
        print_line(f"archipmigrate: {error}", sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Nobody reads our output any more; what was done is in the journal.
        abandon_stdout()
        return 1
    except OSError as error:
        # Such as a full disk behind stdout.
        abandon_stdout()
        words = "what a run has changed is in its journal: see `archipmigrate status`"
        print_line(f"archipmigrate: {error}: {words}", sys.stderr)
        return 1


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    parser = parser_of(words)
    environment = Environment()
    environment.give_defaults(parser)
    args = parser.parse(words, environment)
    _warn(environment)
    return int(args.run(args))


def parser_of(words: Sequence[str] = ()) -> Parser:
    """Return the parser of the command that *words* name, or of all."""
    parser = Parser(
        "archipmigrate",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    about = f"backends: {', '.join(served())}; Python {sys.version.split()[0]}"
    parser.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"archipmigrate {__version__} ({about})",
    )
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _modules(words):
        module.add_parser(commands)
    add_opposites(parser)
    return parser


def _warn(environment: Environment) -> None:
    """Name what looks like an option in the environment and is none, of no command."""
    if any(environment.unknown()):
        Environment(environment.variables, environment.known).give_defaults(parser_of())
        for name in environment.unknown():
            print_line(
                f"archipmigrate: warning: {unknown_words(name, environment.known)}", sys.stderr
            )


def _modules(argv: Sequence[str]) -> Iterator[ModuleType]:
    """Yield the module of the command that is named, or of all: the others take time to import."""
    for name in argv[:1] if argv[:1] and argv[0] in COMMANDS else COMMANDS:
        yield import_module(f".{name}", __package__)
