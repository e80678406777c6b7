"""Options from the environment: --jobs 8 is also ARCHIPMIGRATE_JOBS=8. The command line wins."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from ..errors import UsageError

PREFIX = "ARCHIPMIGRATE_"
TRUE = ("1", "yes", "true", "on")
FALSE = ("", "0", "no", "false", "off")


@dataclass(frozen=True, slots=True)
class BadValue:
    """Stands for a value that an option cannot have, until the command line replaces it."""

    reason: str


class Listed(argparse.Action):
    """Collects values of an option that may be repeated; the first replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Add a value."""
        del option_string
        found = getattr(namespace, self.dest)
        kept = [] if found is parser.get_default(self.dest) else found
        setattr(namespace, self.dest, [*kept, values])


@dataclass(slots=True)
class Environment:
    """The variables that are set, and the names that commands know."""

    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    known: set[str] = field(default_factory=set)

    def give_defaults(self, parser: argparse.ArgumentParser) -> None:
        """Take defaults of the options of *parser* and of the commands below it."""
        for action in parser._actions:  # noqa: SLF001 -- argparse has no public list of them
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- nor a name for it
                for below in action.choices.values():
                    self.give_defaults(below)
            elif action.option_strings and action.help is not argparse.SUPPRESS:
                if action.dest in ("help", "version"):
                    continue
                name = variable_of(action)
                self.known.add(name)
                # An option of `mapfiles show` that `mapfiles` has, too, has its default there.
                if name in self.variables and action.default is not argparse.SUPPRESS:
                    value = _value(action, name, self.variables[name])
                    parser.set_defaults(**{action.dest: value})

    def check(self, args: argparse.Namespace) -> None:
        """Check what the command line has not replaced. Raises UsageError."""
        for value in vars(args).values():
            if isinstance(value, BadValue):
                raise UsageError(value.reason)

    def gave(self, action: argparse.Action, value: object) -> bool:
        """Whether an option has *value* from here."""
        name = variable_of(action)
        text = self.variables.get(name)
        return text is not None and _value(action, name, text) == value

    def unknown(self) -> Iterator[str]:
        """Yield the names that begin like an option and that nothing known has."""
        for name in sorted(self.variables):
            if name.startswith(PREFIX) and name not in self.known:
                yield name


def unknown_words(name: str, known: Iterable[str]) -> str:
    """Return what to say of a variable that is no option of any command."""
    close = get_close_matches(name, known, 1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{name} in the environment is no option of any command, and does nothing{meant}"


def variable_of(action: argparse.Action) -> str:
    """Return the name of an option in the environment."""
    return PREFIX + action.option_strings[-1].lstrip("-").replace("-", "_").upper()


def _value(action: argparse.Action, name: str, text: str) -> object:
    if action.nargs == 0:
        if text.lower() not in TRUE + FALSE:
            return BadValue(f"{name}={text}: give 1 or 0")
        return action.const if text.lower() in TRUE else action.default
    if isinstance(action, Listed):
        return text.split(":") if text else action.default
    try:
        value = action.type(text) if callable(action.type) else text
    except (ValueError, argparse.ArgumentTypeError) as error:
        return BadValue(f"{name}={text}: {error}")
    if action.choices is not None and value not in action.choices:
        return BadValue(f"{name}={text}: choose from {', '.join(map(str, action.choices))}")
    return value
