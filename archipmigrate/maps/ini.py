"""INI files as Python 2's ConfigParser reads them, and so v0.4. Pure: text in, values out.

Python 3 has other rules for comments, continued lines and `%`: it might find another directory in a
file that works for v0.4. The rules here are those of Python 2.7's ConfigParser, `_read` and
`ConfigParser._interpolate`. They apply to bytes, as in Python 2: only ASCII letters have a case,
and only ASCII spaces are spaces.
"""

from __future__ import annotations

import re

from ..errors import UsageError

DEFAULTS = b"DEFAULT"  # every other section has the options of this one, too
DEEPEST = 10  # MAX_INTERPOLATION_DEPTH
LONGEST = 1 << 16  # bytes of a value with references: ten lines may stand for gigabytes
SECTION = re.compile(rb"\[([^]]+)\]")
OPTION = re.compile(rb"([^:=\s][^:=]*)\s*[:=]\s*(.*)$")
REFERENCE = re.compile(rb"%\([^)]*\)s")
# Python 2 also accepts widths and so on, as all % formatting does. Here they are an error.
PERCENT = re.compile(rb"%%|%(?:\(([^)]*)\)s)?")
# A surrogate in the text is a byte that is not UTF-8: see PEP 383.
CODEC = ("utf-8", "surrogateescape")


class Ini:
    """The sections and options of one file."""

    def __init__(self, text: str) -> None:
        """Read *text*. Raises UsageError with the first line that is not valid."""
        self._sections: dict[bytes, dict[bytes, list[bytes]]] = {DEFAULTS: {}}
        options: dict[bytes, list[bytes]] | None = None
        option = b""
        for number, line in enumerate(text.encode(*CODEC).split(b"\n"), 1):
            if _is_comment(line):
                continue
            if line[:1].isspace() and option and options is not None:
                options[option].append(line.strip())
            elif section := SECTION.match(line):
                options, option = self._sections.setdefault(section[1], {}), b""
            elif options is None:
                raise UsageError(f"line {number} comes before any [section]: {_shown(line)}")
            elif found := OPTION.match(line):
                option = found[1].rstrip().lower()
                options[option] = [_value(found[2])]
            else:
                raise UsageError(
                    f"line {number} is no [section], no option and no comment: {_shown(line)}"
                )

    def __contains__(self, section: str) -> bool:
        """Whether there is a section of that name; upper and lower case differ."""
        return section.encode() in self._sections

    def get(self, section: str, option: str) -> str | None:
        """Return an option's value in a section or in [DEFAULT], with its references replaced.

        None if neither has the option. Raises UsageError if a reference cannot be replaced, if the
        references make the value too long, and if there is a NUL in it: no name has one.
        """
        name = section.encode()
        own = {b"__name__": [name], **self._sections.get(name, {})}
        lines = {**self._sections[DEFAULTS], **own}
        values = {name: b"\n".join(parts) for name, parts in lines.items()}
        value = values.get(option.lower().encode())
        if value is None:
            return None
        try:
            value = _interpolated(value, values)
        except OverflowError:
            raise UsageError(
                f"[{section}] {option} = {_shown(value)}: longer than {LONGEST:,} bytes once its "
                "references are replaced"
            ) from None
        except (KeyError, ValueError):
            raise UsageError(
                f"[{section}] {option} = {_shown(value)}: %(NAME)s must name an option of this "
                "section or of [DEFAULT], and any other % beside it be written twice"
            ) from None
        if b"\0" in value:
            raise UsageError(f"[{section}] {option} = {_shown(value)}: there is a NUL in it")
        return value.decode(*CODEC)


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


def _shown(line: bytes) -> str:
    return ascii(line.decode(*CODEC).strip())
