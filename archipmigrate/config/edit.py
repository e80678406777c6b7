"""Options of an `archipelago.conf` changed in place: comments, order and spaces stay. Pure.

ConfigUpdater, an extra, makes the change; the rules of v0.4 judge it: every other value must be
read as before.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import FatalError, UsageError
from .ini import DEFAULTS, Ini
from .v04 import BLOCKERM, SECTIONS, TYPES, Option

if TYPE_CHECKING:
    import configupdater

INSTALL = "pip install configupdater"
# A comment after a value, as Python 2 has it: the first `;`, if a space is before it.
COMMENT = re.compile(r"^[^;]*?(\s+;.*)$", re.DOTALL)
# Of these, one name without a section stands for all that have the option.
OF_ALL_BLOCKERS = ("pithos_migrate",)

SPACES = re.compile(r"[^=:]*\s[=:]\s")

Setting = tuple[str, str, str]  # section, option, value


def edit(text: str, assignments: Sequence[str]) -> str:
    """Return *text* with options set as *assignments*, each [SECTION.]KEY=VALUE, say.

    Raises UsageError for an assignment that makes no sense, and if ConfigUpdater is not installed;
    BadLine for a text that v0.4 cannot read; FatalError if ConfigUpdater cannot edit it.
    """
    ini = Ini(text)
    settings = [setting for word in assignments for setting in _settings(ini, word)]
    targets = [(section, option) for section, option, _ in settings]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"[{target[0]}] {target[1]} is set twice")
    ends_in_returns = "\n" in text and text.count("\n") == text.count("\r\n")
    new = text.replace("\r\n", "\n") if ends_in_returns else text
    for setting in settings:
        new = _set(new, setting)
    if ends_in_returns:
        new = new.replace("\n", "\r\n")
    _check(ini, Ini(new), settings)
    return new


def _settings(ini: Ini, word: str) -> Iterator[Setting]:
    key, equals, value = word.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key:
        raise UsageError(f"{word!a}: give KEY=VALUE")
    if not value.isprintable():
        raise UsageError(f"{word!a}: there are characters in the value that cannot be printed")
    known = {(section, option.name) for section, options in _known(ini) for option in options}
    found = sorted(_matching(known, key))
    if not found:
        names = {name for _, name in known} | {f"{section}.{name}" for section, name in known}
        near = difflib.get_close_matches(key.replace("-", "_"), names, 1, 0.7)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UsageError(f"{key}: no option of v0.4, for the sections of this file{hint}")
    if len(found) > 1 and found[0][1] not in OF_ALL_BLOCKERS:
        places = ", ".join(f"{section}.{name}" for section, name in found)
        raise UsageError(f"{key} is an option of several sections; name one: {places}")
    for section, name in found:
        yield section, name, value


def _known(ini: Ini) -> Iterator[tuple[str, Sequence[Option]]]:
    """Yield the sections of a file that v0.4 reads, and their options."""
    for section in ini.sections():
        kind = ini.get(section, "type") or ""
        options = SECTIONS.get(section) or TYPES.get(kind)
        if options:
            yield section, options


def _matching(known: set[tuple[str, str]], key: str) -> Iterator[tuple[str, str]]:
    """Yield what a key means: UMASK is that of the first section, umask one of the others."""
    section, dot, name = key.rpartition(".")
    exact = {(s, n) for s, n in known if n == name}
    for where, option in exact or {(s, n) for s, n in known if n.lower() == name.lower()}:
        if where == section if dot else option != "lock_dir" or where == BLOCKERM:
            yield where, option


def _set(text: str, setting: Setting) -> str:
    section, name, value = setting
    updater = _read(text, spaces=_has_spaces(text, section, name))
    options = updater[section]
    if name in options:
        comment = COMMENT.match(options[name].value or "")
        options[name].value = value + (comment[1] if comment else "")
    elif options.options():
        options[options.options()[-1]].add_after.option(name, value)
    else:
        options[name] = value
    return str(updater)


def _read(text: str, *, spaces: bool) -> configupdater.ConfigUpdater:
    try:
        import configupdater  # noqa: PLC0415 -- an extra, of this command only
    except ImportError:
        raise UsageError(f"editing a configuration takes ConfigUpdater: {INSTALL}") from None
    updater = configupdater.ConfigUpdater(
        comment_prefixes=("#", ";", "rem "), space_around_delimiters=spaces
    )
    try:
        return updater.read_string(text)
    except (configupdater.ParsingError, configupdater.DuplicateSectionError,
            configupdater.DuplicateOptionError) as error:  # fmt: skip
        words = " ".join(str(error).split())
        raise FatalError(f"not edited: {words}: see `archipmigrate config check`") from None


def _has_spaces(text: str, section: str, name: str) -> bool:
    """Whether there are spaces around `=` where an option is, or else in its section."""
    ini = Ini(text)
    options = ini.options(section)
    models = [name] if name.lower() in options else options[-1:]
    lines = text.split("\n")
    return any(SPACES.match(lines[ini.line(section, option) - 1]) for option in models)


def _check(old: Ini, new: Ini, settings: Sequence[Setting]) -> None:
    """Check that v0.4 reads what was set, and everything else as before. Raises FatalError."""
    meant = {(section, option.lower()): value for section, option, value in settings}
    for section in {*old.sections(), *new.sections()} - {DEFAULTS}:
        for option in {*old.options(section), *new.options(section), *new.options(DEFAULTS)}:
            value = meant.get((section, option), old.get(section, option))
            if new.get(section, option) != value:
                raise FatalError(
                    f"not edited: v0.4 would not read [{section}] {option} = {value!a}: edit the "
                    "file by hand"
                )
    if old.sections() != new.sections():
        raise FatalError("not edited: sections would change: edit the file by hand")
