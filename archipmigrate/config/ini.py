"""INI files as Python 2's ConfigParser reads them, and so v0.4. Pure: text in, values out.

Python 3 has other rules for comments, continued lines and `%`: it might find another directory in a
file that works for v0.4. The rules here are those of Python 2.7's ConfigParser, `_read` and
`ConfigParser._interpolate`. They apply to bytes, as in Python 2: only ASCII letters have a case,
and only ASCII spaces are spaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError

DEFAULTS = "DEFAULT"  # every other section has the options of this one, too
DEEPEST = 10  # MAX_INTERPOLATION_DEPTH
LONGEST = 1 << 16  # bytes of a value with references: ten lines may stand for gigabytes
MARK = b"\xef\xbb\xbf"  # a byte order mark
SECTION = re.compile(rb"\[([^]]+)\]")
OPTION = re.compile(rb"([^:=\s][^:=]*)\s*[:=]\s*(.*)$")
REFERENCE = re.compile(rb"%\([^)]*\)s")
# Python 2 also accepts widths and so on, as all % formatting does. Here they are an error.
PERCENT = re.compile(rb"%%|%(?:\(([^)]*)\)s)?")
# A surrogate in the text is a byte that is not UTF-8: see PEP 383.
CODEC = ("utf-8", "surrogateescape")


class BadLine(UsageError):
    """A line that is not valid, or whose value is not; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"line {line}: {what}")
        self.line = line
        self.what = what


@dataclass(slots=True)
class _Option:
    """An option: where it is given, and the lines of its value."""

    line: int
    parts: list[bytes]


@dataclass(frozen=True, slots=True)
class Again:
    """An option that is given twice in a section: the value of the later line counts."""

    section: str
    option: str
    line: int
    first: int


class Ini:
    """The sections and options of one file.

    `again` has the options that are given more than once.
    """

    def __init__(self, text: str) -> None:
        """Read *text*. Raises BadLine for the first line that is not valid."""
        self.again: list[Again] = []
        self._lines: dict[str, int] = {}
        self._merged: dict[str, dict[bytes, bytes]] = {}
        self._sections: dict[str, dict[bytes, _Option]] = {DEFAULTS: {}}
        section = ""
        last: _Option | None = None
        for number, line in enumerate(text.encode(*CODEC).split(b"\n"), 1):
            if _is_comment(line):
                continue
            if line[:1].isspace() and last is not None:
                last.parts.append(line.strip())
            elif found := SECTION.match(line):
                section, last = _text(found[1]), None
                self._lines.setdefault(section, number)
                self._sections.setdefault(section, {})
            elif not section:
                mark = " (a byte order mark is before it)" if line.startswith(MARK) else ""
                raise BadLine(number, f"comes before any [section]: {_shown(line)}{mark}")
            elif option := OPTION.match(line):
                last = self._add(section, option, number)
            else:
                raise BadLine(number, f"no [section], no option and no comment: {_shown(line)}")

    def _add(self, section: str, found: re.Match[bytes], number: int) -> _Option:
        options = self._sections[section]
        name = found[1].rstrip().lower()
        if name in options:
            self.again.append(Again(section, _text(name), number, options[name].line))
        options[name] = _Option(number, [_value(found[2])])
        return options[name]

    def __contains__(self, section: str) -> bool:
        """Whether there is a section of that name; upper and lower case differ."""
        return section in self._sections

    def sections(self) -> list[str]:
        """Return the names of all sections that are in the file, in its order."""
        return list(self._lines)

    def options(self, section: str) -> list[str]:
        """Return the names of a section's own options, in lower case."""
        return [_text(name) for name in self._sections.get(section, {})]

    def line(self, section: str, option: str = "") -> int:
        """Return the line of an option, or where it is not given that of the section; else 0."""
        name = option.lower().encode(*CODEC)
        for options in (self._sections.get(section, {}), self._sections[DEFAULTS]):
            if name in options:
                return options[name].line
        return self._lines.get(section, 0)

    def get(self, section: str, option: str) -> str | None:
        """Return an option's value in a section or in [DEFAULT], with its references replaced.

        None if neither has the option. Raises BadLine if a reference cannot be replaced, if the
        references make the value too long, and if there is a NUL in it: no name has one.
        """
        values = self._values(section)
        value = values.get(option.lower().encode(*CODEC))
        if value is None:
            return None
        shown = f"[{section}] {option} = {_shown(value)}"
        line = self.line(section, option)
        try:
            value = _interpolated(value, values)
        except OverflowError:
            raise BadLine(
                line, f"{shown}: longer than {LONGEST:,} bytes once its references are replaced"
            ) from None
        except (KeyError, ValueError):
            raise BadLine(
                line,
                f"{shown}: %(NAME)s must name an option of this section or of [DEFAULT], and any "
                "other % beside it be written twice",
            ) from None
        if b"\0" in value:
            raise BadLine(line, f"{shown}: there is a NUL in it")
        return _text(value)

    def _values(self, section: str) -> dict[bytes, bytes]:
        """Return the values in a section, with the references in them."""
        if section not in self._merged:
            name = _Option(0, [section.encode(*CODEC)])
            own = {b"__name__": name, **self._sections.get(section, {})}
            given = {**self._sections[DEFAULTS], **own}
            self._merged[section] = {key: b"\n".join(o.parts) for key, o in given.items()}
        return self._merged[section]


def _is_comment(line: bytes) -> bool:
    """Whether a line is blank or a comment: `#`, `;` or the word `rem`, with no space before it."""
    words = line.split(None, 1)
    return not words or line[:1] in b"#;" or (line[:1] in b"rR" and words[0].lower() == b"rem")


def _value(text: bytes) -> bytes:
    """Return an option's value without the comment after it, which only its first `;` can begin."""
    at = text.find(b";")
    # If `;` comes first, this tests the last character, as Python 2 does.
    if at >= 0 and text[at - 1 :][:1].isspace():
        text = text[:at]
    text = text.strip()
    return b"" if text == b'""' else text


def _interpolated(value: bytes, values: dict[bytes, bytes]) -> bytes:
    """Replace references, those in the replacements too. Without any, a `%` stays as it is.

    Raises OverflowError, KeyError and ValueError.
    """
    room = LONGEST

    def replaced(found: re.Match[bytes]) -> bytes:
        nonlocal room
        replacement = b"%" if found[0] == b"%%" else values[found[1]]
        room -= len(replacement)
        if room < 0:
            raise OverflowError
        return replacement

    for _ in range(DEEPEST):
        if b"%(" not in value:
            return value
        value = REFERENCE.sub(lambda found: found[0].lower(), value)
        value = PERCENT.sub(replaced, value)
    if b"%(" in value:
        raise ValueError(value)
    return value


def _text(value: bytes) -> str:
    return value.decode(*CODEC)


def _shown(line: bytes) -> str:
    text = ascii(_text(line).strip())
    return text if len(text) <= 200 else f"{text[:200]}..."
