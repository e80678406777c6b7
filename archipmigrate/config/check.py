"""What v0.4 would choke on, or silently ignore, in an `archipelago.conf`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterator

from .blocker import FILES, RADOS
from .findings import ConfigFinding, Level
from .host import Host
from .ini import DEFAULTS, BadLine, Ini
from .v04 import (
    BLOCKERB,
    BLOCKERM,
    GLOBAL,
    OF_ALL_TYPES,
    PEERS,
    ROLES,
    SECTIONS,
    SEGMENT,
    TARGETS,
    TYPES,
    Option,
    Value,
)


def check_config(text: str, host: Host) -> list[ConfigFinding]:
    """Return what is wrong with the *text* of an `archipelago.conf`, by lines."""
    try:
        ini = Ini(text)
    except BadLine as error:
        return [ConfigFinding(error.line, Level.BLOCKER, error.what, "mend the line")]
    check = _Check(ini, host)
    check.all()
    return sorted(set(check.findings))


class _Check:
    """One file."""

    def __init__(self, ini: Ini, host: Host) -> None:
        self.findings: list[ConfigFinding] = []
        self._ini = ini
        self._host = host
        self._values: dict[tuple[str, str], Value] = {}
        self._ranges: list[tuple[int, int, str]] = []

    def all(self) -> None:
        for again in self._ini.again:
            self._warn(
                again.section,
                again.option,
                f"given again: v0.4 takes this line, not line {again.first}",
                "remove one of them",
                again.line,
            )
        for section, options in SECTIONS.items():
            self._read(section, options)
        roles = self._roles()
        for role in roles:
            self._role(role)
        self._unknown_sections(roles)
        self._owner()
        self._ports(roles)
        self._blockers(roles)

    # -- what is reported

    def _add(self, level: Level, line: int, text: str, todo: str) -> None:
        self.findings.append(ConfigFinding(line, level, text, todo))

    def _block(self, section: str, option: str, text: str, todo: str) -> None:
        self._add(
            Level.BLOCKER, self._line(section, option), self._named(section, option, text), todo
        )

    def _warn(self, section: str, option: str, text: str, todo: str, line: int = 0) -> None:
        line = line or self._line(section, option)
        self._add(Level.WARNING, line, self._named(section, option, text), todo)

    def _line(self, section: str, option: str) -> int:
        return self._ini.line(section, option)

    def _named(self, section: str, option: str, text: str) -> str:
        given = self._raw(section, option)
        shown = f" = {given!a}" if given is not None and "\n" not in given else ""
        return f"[{section}] {option}{shown}: {text}"

    def _raw(self, section: str, option: str) -> str | None:
        try:
            return self._ini.get(section, option)
        except BadLine:
            return None

    # -- options, one by one

    def _read(self, section: str, options: Collection[Option]) -> None:
        if section not in self._ini:
            self._add(Level.BLOCKER, 0, f"there is no section [{section}]", "add it")
            return
        for option in options:
            try:
                value = self._ini.get(section, option.name)
            except BadLine as error:
                self._add(Level.BLOCKER, error.line, error.what, "write the value itself")
                continue
            if value is None:
                if option.required:
                    self._block(section, option.name, "missing", "add it")
                continue
            self._judge(section, option, value)
        self._unknown_options(section, options)

    def _judge(self, section: str, option: Option, value: str) -> None:
        try:
            self._values[section, option.name] = option.read(value)
        except ValueError as error:
            self._block(section, option.name, str(error), _hint(value) or "mend the value")
            return
        if option.name.lower() == "umask":
            self._umask(section, option.name, value)
        if _hint(value) and option.read_by_v04:
            self._warn(section, option.name, "taken as it stands", _hint(value))

    def _umask(self, section: str, option: str, value: str) -> None:
        mask = self._number(section, option)
        if mask is None:
            return
        if mask == 0 and section != GLOBAL:
            self._warn(section, option, "taken for `not set`: it ends as 007", "write 007")
        elif value[0] != "0":
            octal = f"0{mask:03o}"
            self._warn(section, option, f"decimal, that is {octal}", f"write 0{value}, or {octal}")

    def _unknown_options(self, section: str, options: Collection[Option]) -> None:
        known = [option.name.lower() for option in options]
        for name in self._ini.options(section):
            if name in known:
                continue
            near = difflib.get_close_matches(name.replace("-", "_"), known, 1, 0.8)
            todo = f"write {near[0]}" if near else "remove it"
            self._warn(section, name, "ignored: v0.4 has no such option", todo)

    # -- roles

    def _roles(self) -> list[str]:
        """Return the roles that have a section; in the order of the file, each once."""
        value = self._raw(PEERS, "ROLES")
        if value is None:
            return []
        roles = value.split(" ")
        order = self._values.get((PEERS, "ORDER"), value)
        if order != value:
            self._warn(PEERS, "ORDER", "ignored: daemons start in the order of ROLES", "remove it")
        for role in ROLES:
            if role not in roles:
                self._warn(
                    PEERS, "ROLES", f"{role} is missing, without which no volume works", "add it"
                )
        return [role for role in dict.fromkeys(roles) if self._is_role(role, roles.count(role))]

    def _is_role(self, role: str, times: int) -> bool:
        if not role or "," in role:
            self._block(PEERS, "ROLES", "not one space apart", f"write {' '.join(ROLES)}")
        elif times > 1:
            self._block(PEERS, "ROLES", f"{role!a} is there {times} times", "name each role once")
        elif role not in self._ini:
            self._block(
                PEERS, "ROLES", f"there is no section [{role}]", "add it, or leave the role out"
            )
        else:
            return True
        return False

    def _role(self, role: str) -> None:
        kind = self._raw(role, "type")
        self._read(role, TYPES.get(kind or "", OF_ALL_TYPES))
        if kind is not None and kind not in TYPES:
            poold = "; only a development version has it" if kind == "poold" else ""
            todo = f"write one of {', '.join(TYPES)}, or leave the role out"
            self._block(role, "type", f"v0.4 has no daemon of this type{poold}", todo)
        threads, operations = (self._values.get((role, key)) for key in ("nr_threads", "nr_ops"))
        if kind == FILES and None not in (threads, operations) and threads != operations:
            self._warn(
                role,
                "nr_threads",
                "ignored: there are as many threads as nr_ops",
                f"write {operations}",
            )
        logs = self._raw(role, "logfile")
        if logs and not self._host.is_directory(os.path.dirname(logs)):
            self._block(role, "logfile", "there is no such directory on this host", "make it")

    def _unknown_sections(self, roles: Collection[str]) -> None:
        for section in self._ini.sections():
            if section in (*SECTIONS, *roles, DEFAULTS):
                continue
            self._add(
                Level.WARNING,
                self._ini.line(section),
                f"[{section}]: ignored: no role of [{PEERS}] ROLES",
                "name it there, or remove the section",
            )

    # -- values that go together

    def _owner(self) -> None:
        for option, is_there in (("USER", self._host.has_user), ("GROUP", self._host.has_group)):
            name = self._values.get((GLOBAL, option))
            if isinstance(name, str) and not is_there(name):
                todo = "create it, with the same number on all nodes; packages of v0.4 do"
                self._block(GLOBAL, option, "not known on this host", todo)

    def _ports(self, roles: Collection[str]) -> None:
        most, fixed = (self._number(SEGMENT, f"SEGMENT_{end}") for end in ("PORTS", "DYNPORTS"))
        if most is not None and fixed is not None and fixed >= most:
            self._block(
                SEGMENT, "SEGMENT_DYNPORTS", f"not less than SEGMENT_PORTS, {most}", "lower it"
            )
        limit = min(most or fixed or 0, fixed or most or 0)
        for role in roles:
            self._range(role, "portno_start", "portno_end", limit)
        self._range(SEGMENT, "VTOOL_START", "VTOOL_END", limit)
        for (role, option), target in TARGETS.items():
            port = self._number(role, option)
            start, end = (self._number(target, f"portno_{at}") for at in ("start", "end"))
            if port is None or start is None or end is None or not {role, target} <= set(roles):
                continue
            if not start <= port <= end:
                self._block(role, option, f"not the port of {target}", f"write {start}")

    def _range(self, section: str, first: str, last: str, limit: int) -> None:
        start, end = self._number(section, first), self._number(section, last)
        if start is None or end is None:
            return
        if start > end:
            self._block(section, first, f"above {last}, {end}", "exchange them")
            return
        if limit and end >= limit:
            text = f"not below SEGMENT_DYNPORTS and SEGMENT_PORTS, {limit}: the daemon dies"
            self._block(section, last, text, "lower it, or raise both")
        for other_start, other_end, other in self._ranges:
            if start <= other_end and other_start <= end:
                text = f"ports {start} to {end} are those of {other}, too"
                self._block(section, first, text, "give each ports of its own")
        self._ranges.append((start, end, section))

    def _number(self, section: str, option: str) -> int | None:
        value = self._values.get((section, option))
        return value if isinstance(value, int) else None

    # -- blockers

    def _blockers(self, roles: Collection[str]) -> None:
        files = [role for role in roles if self._values.get((role, "type")) == FILES]
        for role in files:
            self._directories(role)
            cache, operations = self._number(role, "fdcache"), self._number(role, "nr_ops")
            if cache and operations and cache < 2 * operations:
                least = f"less than twice nr_ops, {2 * operations}"
                self._block(role, "fdcache", least, f"write {2 * operations}")
            if cache is not None and cache < 0:
                self._block(role, "fdcache", "below zero", "write twice nr_ops")
        self._both(files)

    def _directories(self, role: str) -> None:
        for option in ("archip_dir", "lock_dir"):
            path = self._values.get((role, option))
            if not isinstance(path, str) or (option == "lock_dir" and not path):
                continue
            if not path.startswith("/"):
                self._block(role, option, "not an absolute path", _hint(path) or "write it in full")
            elif not self._host.is_directory(path):
                todo = _hint(path) or "mount the share, or make the directory"
                self._block(role, option, "there is no such directory on this host", todo)

    def _both(self, files: Collection[str]) -> None:
        """Check what concerns both blockers."""
        kinds = [self._values.get((role, "type")) for role in (BLOCKERB, BLOCKERM)]
        if sorted(map(str, kinds)) == sorted((FILES, RADOS)):
            self._warn(BLOCKERM, "type", "not that of blockerb", "have both in files or in RADOS")
        if not {BLOCKERB, BLOCKERM} <= set(files):
            return
        blocks, maps = (self._values.get((role, "archip_dir")) for role in (BLOCKERB, BLOCKERM))
        if blocks and maps and os.path.normpath(str(blocks)) == os.path.normpath(str(maps)):
            self._warn(BLOCKERM, "archip_dir", "that of blockerb, too", "give each its own")
        moves = [bool(self._values.get((role, "pithos_migrate"))) for role in (BLOCKERB, BLOCKERM)]
        if moves[0] != moves[1]:
            role = (BLOCKERB, BLOCKERM)[moves[0]]
            self._warn(role, "pithos_migrate", "not the same in both blockers", "set it in both")
        if self._values.get((BLOCKERB, "lock_dir")) and not self._values.get(
            (BLOCKERM, "lock_dir")
        ):
            text = "of no use: blockerm takes the locks"
            self._warn(BLOCKERB, "lock_dir", text, f"move it to [{BLOCKERM}]")


def _hint(value: str) -> str:
    """Return what is suspicious about a value, whatever it is of; "" if nothing is."""
    return next(_hints(value), "")


def _hints(value: str) -> Iterator[str]:
    if "\n" in value:
        yield "the next lines are indented, so they belong to the value: begin them at the margin"
    if any(f"{space}#" in value for space in " \t"):
        yield "`#` does not begin a comment after a value: put it on a line of its own"
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        yield "leave out the quotes: they belong to the value"
