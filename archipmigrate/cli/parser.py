"""The parser of a command line: an error is one line that says what to write instead.

A switch can be turned off again by its opposite (`--no-json`), which help does not list.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NoReturn

from ..errors import UsageError
from ..ui.printer import print_line
from .environment import Environment, variable_of

Commands = argparse._SubParsersAction  # noqa: SLF001 -- argparse has no public name for it


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions and examples as they are written."""


class Parser(argparse.ArgumentParser):
    """Parses a command line; a terminal obeys nothing that was wrong in it.

    `stray` says what to do instead of giving a word where a command below this one is expected.
    """

    stray = ""

    def parse(self, argv: Sequence[str], environment: Environment) -> argparse.Namespace:
        """Return the options of the command that is named. Raises UsageError for the environment.

        Anything wrong in the command line itself ends the program, with status 2.
        """
        args, rest = super().parse_known_args(argv)
        if rest:
            args.parser.refuse(rest[0])
        environment.check(args)
        args.parser.settle_exclusive(args, environment)
        return args

    def settle_exclusive(self, args: argparse.Namespace, environment: Environment) -> None:
        """Let an option of the command line replace one of the environment that it excludes.

        Raises UsageError if both are from the environment; argparse sees to the other case.
        """
        for group in self._mutually_exclusive_groups:
            given = [
                action
                for action in group._group_actions  # noqa: SLF001 -- argparse has no public list
                if getattr(args, action.dest, None) not in (None, False)
            ]
            inherited = [a for a in given if environment.gave(a, getattr(args, a.dest))]
            if len(given) == len(inherited) > 1:
                names = " and ".join(variable_of(action) for action in inherited)
                raise UsageError(f"{names} exclude each other: unset one of them")
            if len(given) > 1:
                for action in inherited:
                    setattr(args, action.dest, False if action.nargs == 0 else None)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, but first look for options that this command does not have.

        Otherwise their values would be taken for commands, or something else be missed first.
        """
        words = list(sys.argv[1:] if args is None else args)
        below = self._below()
        for word in words:
            if word == "--" or word in below:
                break
            if word.startswith("--") and word.partition("=")[0] not in self._option_string_actions:
                self.refuse(word)
        return super().parse_known_args(words, namespace)

    def refuse(self, word: str) -> NoReturn:
        """End the program: *word* is an option that is not there, or one argument too many."""
        name = word.partition("=")[0]
        if not name.startswith("-"):
            self.error(f"{word!r} is one argument too many")
        options = [
            text
            for action in self._actions
            if action.help is not argparse.SUPPRESS
            for text in action.option_strings
        ]
        self.error(f"no option {name}{_meant(name, options)}")

    def _below(self) -> Iterable[str]:
        for action in self._actions:
            if isinstance(action, Commands):
                return action.choices
        return ()

    def _check_value(self, action: argparse.Action, value: object) -> None:
        choices = action.choices
        if choices is None or value in choices:
            return
        names = [str(choice) for choice in choices]
        if not isinstance(action, Commands):
            words = f"choose from {', '.join(names)}, not {str(value)!r}"
            raise argparse.ArgumentError(action, words)
        self.error(self.stray or f"no command {str(value)!r}{_meant(str(value), names)}")

    def error(self, message: str) -> NoReturn:
        """Print *message*, with the usage in brief, and exit."""
        message = message.removeprefix("argument ")
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            message = f"{missing} is missing"
        print_line(f"{self.prog}: {message}", sys.stderr)
        print_line(
            f"usage: {self.prog} {self._synopsis()}; {self.prog} --help says more", sys.stderr
        )
        sys.exit(UsageError.exit_status)

    def format_usage(self) -> str:
        """Return the usage in brief: help lists the options below it."""
        self.usage = f"%(prog)s {self._synopsis()}"
        return super().format_usage()

    def format_help(self) -> str:
        """Return the help."""
        self.usage = f"%(prog)s {self._synopsis()}"
        return super().format_help()

    def _synopsis(self) -> str:
        formatter = self._get_formatter()
        words = []
        for action in self._actions:
            if isinstance(action, Commands):
                words.append("COMMAND" if action.required else f"[{action.metavar}]")
            elif not action.option_strings:
                words.append(formatter._format_args(action, action.dest))  # noqa: SLF001 -- see above
        return " ".join(["[OPTIONS]", *words])


def add_opposites(parser: argparse.ArgumentParser) -> None:
    """Let `--no-NAME` turn the switch --NAME off, and --NAME the switch --no-NAME.

    Also in the commands below *parser*.
    """
    for action in list(parser._actions):  # noqa: SLF001 -- argparse has no public list of them
        if isinstance(action, Commands):
            for below in action.choices.values():
                add_opposites(below)
        if action.nargs != 0 or action.dest in ("help", "version"):
            continue
        for name in action.option_strings:
            bare = name.removeprefix("--no-")
            opposite = f"--{bare}" if bare != name else f"--no-{name.removeprefix('--')}"
            if name.startswith("--") and opposite not in parser._option_string_actions:  # noqa: SLF001
                parser.add_argument(
                    opposite,
                    dest=action.dest,
                    action="store_const",
                    const=not action.const,
                    default=argparse.SUPPRESS,
                    help=argparse.SUPPRESS,
                )


def _meant(name: str, names: Sequence[str]) -> str:
    """Return a question for the one of *names* that was probably meant."""
    close = get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else ""
