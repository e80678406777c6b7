"""What is made of the parser when the package is built: completion for shells, manual pages.

    python -m archipmigrate.cli.made DIR     writes DIR/completion/SHELL and DIR/man/*.1

Takes shtab and argparse-manpage, which an installed program does not need.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from .main import parser_of
from .parser import Commands, Parser

SHELLS = ("bash", "zsh")
SUMMARY = "bring an Archipelago share from v0.3 to v0.4"
# The state directory, as `journal.location` finds it, and the names of the runs in it.
RUNS = """\
  state=${ARCHIPMIGRATE_STATE:-}
  for ((i = 1; i < ${#line[@]}; i++)); do
    [[ ${line[i]} == --state ]] && state=${line[i + 1]}
    [[ ${line[i]} == --state=* ]] && state=${line[i]#--state=}
  done
  if [[ -z $state ]]; then
    state=${XDG_STATE_HOME:-$HOME/.local/state}/archipmigrate
    ((EUID == 0)) && state=/var/lib/archipmigrate
  fi
  runs=$(cd -- "$state" 2>/dev/null && ls | sed -n 's/\\.journal$//p')
"""
RUN_NAMES = {
    "bash": "_archipmigrate_runs",
    "zsh": "_archipmigrate_runs",
    "preamble": {
        "bash": f"""\
# Print the runs that begin with $1.
_archipmigrate_runs() {{
  local i state runs line=("${{COMP_WORDS[@]}}")
{RUNS}  compgen -W "$runs" -- "$1"
}}""",
        "zsh": f"""\
_archipmigrate_runs() {{
  local i state runs line=("${{words[@]}}")
{RUNS}  compadd -- ${{(f)runs}}
}}""",
    },
}


def completion(shell: str) -> str:
    """Return the script that completes command lines in *shell*. Raises ImportError."""
    import shtab  # noqa: PLC0415 -- only where the package is built

    files = {"DIR": shtab.DIRECTORY, "PATH": shtab.DIRECTORY, "FILE": shtab.FILE, "RUN": RUN_NAMES}
    whole = parser_of()
    for _, parser in _commands(whole):
        for action in parser._actions:  # noqa: SLF001 -- argparse has no public list
            if isinstance(action.metavar, str) and action.metavar in files:
                action.complete = files[action.metavar]  # type: ignore[attr-defined]
    text = shtab.complete(whole, shell)
    return re.sub(r"(?m)^# (Usage:|[12]\)|   source|See also:).*\n", "", text)


def manual_pages() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of the page of each command, and of all. Raises ImportError."""
    from argparse_manpage.manpage import Manpage  # noqa: PLC0415 -- as above

    for help_line, parser in list(_commands(parser_of())):
        examples, _, status = (parser.epilog or "").partition("\n\nexit status: ")
        title, _, examples = examples.partition("\n")
        parser.epilog = None
        for action in parser._actions:  # noqa: SLF001 -- as above
            if isinstance(action, Commands):
                dict.clear(action.choices)
        name = parser.prog.replace(" ", "-")
        words = {"project_name": "archipmigrate", "version": __version__}
        page = Manpage(parser, {**words, "manual_title": "Archipelago", "description": help_line})
        page.add_section(title.rstrip(":").removeprefix("first "), ">", _as_written(examples))
        if status:
            page.add_section("exit status", ">", _escaped(status.replace("; ", ";\n.br\n")))
        if name != "archipmigrate":
            page.add_section("see also", ">", r"\fBarchipmigrate\fR(1)")
        page.prog = name
        yield f"{name}.1", _mended(str(page))


def _commands(whole: Parser) -> Iterator[tuple[str, Parser]]:
    """Yield the help line and the parser of *whole*, of each command, and of those below it."""
    yield SUMMARY, whole
    waiting = [whole]
    for parser in waiting:  # which grows
        for action in parser._actions:  # noqa: SLF001 -- as above
            if isinstance(action, Commands):
                lines = {choice.dest: choice.help for choice in action._choices_actions}  # noqa: SLF001
                below = dict(action.choices)
                waiting += below.values()
                for name, command in below.items():
                    yield lines.get(name) or SUMMARY, command


def _escaped(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _as_written(text: str) -> str:
    """Return roff that keeps the lines of *text*."""
    return f".nf\n{_escaped(text)}\n.fi"


def _mended(page: str) -> str:
    """Return *page* without what formatters warn of: empty lines, and a date with backslashes."""
    title, _, page = page.partition("\n")
    page = title.replace("\\-", "-") + "\n" + page
    page = re.sub(r"\n\n+", "\n.PP\n", page.strip("\n"))
    return re.sub(r"\n\.PP(?=\n\.(TP|SH|nf))", "", page) + "\n"


def main(directory: Path) -> None:
    """Write all of it below *directory*."""
    for folder in ("completion", "man"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    for shell in SHELLS:
        (directory / "completion" / shell).write_text(completion(shell))
    for name, text in manual_pages():
        (directory / "man" / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
