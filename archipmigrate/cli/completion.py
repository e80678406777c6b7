"""`archipmigrate completion`: print what makes a shell complete command lines."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import UsageError
from ..ui.printer import print_line
from . import options
from .made import SHELLS, completion
from .parser import Commands, Parser

DESCRIPTION = """\
Print the script that makes a shell complete commands, options, files and the names of
runs, which it reads from the state directory."""
EXAMPLES = """\
  source <(archipmigrate completion bash)           in this shell
  archipmigrate completion bash >/etc/bash_completion.d/archipmigrate
  archipmigrate completion zsh >"${fpath[1]}/_archipmigrate"

exit status: 0 printed; 2 usage"""
# Made when the package was built.
SCRIPTS = Path(__file__).with_name("completion-scripts")


def add_parser(commands: Commands[Parser]) -> None:
    """Add the command."""
    parser = options.command(
        commands, "completion", "print a shell's completion", DESCRIPTION, EXAMPLES, run
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join(SHELLS))


def run(args: argparse.Namespace) -> int:
    """Print the script. Raises UsageError."""
    try:
        text = (SCRIPTS / args.shell).read_text()
    except FileNotFoundError:  # an editable install: made now
        try:
            text = completion(args.shell)
        except ImportError as error:
            words = f"this install has no completion: install a built package, or {error.name}"
            raise UsageError(words) from None
    for line in text.splitlines():
        print_line(line)
    return 0
