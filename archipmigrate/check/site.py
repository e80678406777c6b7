"""Where the blocks, maps and locks of a site are, and whose they should be.

By v0.4's configuration, or by the directory that has `blocks`, `maps` and perhaps `locks` in it.
Nothing is resolved here: that a user or a directory is missing is for a topic to find.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config.blocker import OF_BLOCKS, OF_MAPS, OWNER, read_config
from ..config.files import CONFIG, read_text
from ..errors import UsageError
from ..jobs.registry import MAPFILES, PERMS, RELOCATE
from ..maps.locate import BLOCKS
from ..ui.text import command_line

MAPS, LOCKS = "maps", "locks"
PROGRAM = "archipmigrate"


@dataclass(frozen=True, slots=True)
class Site:
    """A site.

    `locks` is the lock directory ("": locks lie among the maps), `config` the configuration that
    says all this (None: it was a directory), `user` and `group` are names or numbers. `state` are
    the options of commands that are to find the same runs.
    """

    blocks: str
    maps: str
    locks: str = ""
    user: str = OWNER
    group: str = OWNER
    config: Path | None = None
    configured: tuple[str, str] = ("", "")  # USER and GROUP there
    state: Sequence[str] = ()

    @property
    def directories(self) -> dict[str, str]:
        """The directories, by what they hold."""
        found = {BLOCKS: self.blocks, MAPS: self.maps}
        return {**found, LOCKS: self.locks} if self.locks else found

    @property
    def tops(self) -> list[str]:
        """The directories that perms is for: the one that holds blocks and maps, or each."""
        paths = [os.path.abspath(path) for path in self.directories.values()]
        above = os.path.commonpath(paths)
        # Of /a/blocks and /b/maps it is /, of /srv/blocks and /srv/x/maps /srv: too much.
        if all(os.path.dirname(path) == above for path in paths) and above.count("/") > 1:
            return [above]
        return sorted(paths)

    # -- commands, for users to copy

    def relocate(self, *words: str) -> str:
        """Return the command that moves objects."""
        return self._command(RELOCATE, ["--blocks", self.blocks, "--maps", self.maps], words)

    def mapfiles(self, *words: str) -> str:
        """Return the command that upgrades maps."""
        places = ["--maps", self.maps, "--blocks", self.blocks]
        places += ["--locks", self.locks] if self.locks else []
        return self._command(MAPFILES, places, words)

    def command(self, name: str, *words: str) -> str:
        """Return a command about maps and their locks."""
        places = ["--maps", self.maps, *(["--locks", self.locks] if self.locks else [])]
        return self._command(name, places, words)

    def check(self, *words: str) -> str:
        """Return the command that checks this site."""
        return self._command("check", [os.path.dirname(os.path.abspath(self.maps))], words)

    def perms(self) -> str:
        """Return the command, or commands, that give the share to the group."""
        return "; ".join(self.perms_of([] if self.group == OWNER else ["--group", self.group]))

    def perms_of(self, words: Sequence[str]) -> list[str]:
        """Return the commands that give the share away, one for each of its tops."""
        return [command_line([PROGRAM, PERMS, *words, *self.state, top]) for top in self.tops]

    def _command(self, name: str, places: Sequence[str], words: Sequence[str]) -> str:
        if self.config is not None:
            places = [] if self.config == CONFIG else ["--config", str(self.config)]
        return command_line([PROGRAM, name, *places, *words, *self.state])


def find_site(
    path: str | None = None,
    config: Path | None = None,
    owner: str | None = None,
    group: str | None = None,
    state: Sequence[str] = (),
) -> Site:
    """Return the site at *path*, or of a configuration (None: the usual one).

    *owner* and *group* take precedence over the configuration's. Raises UsageError.
    """
    if path is not None and config is not None:
        raise UsageError("give either PATH or --config, not both")
    site = _configured(config or CONFIG) if path is None else _at(path)
    return replace(site, user=owner or site.user, group=group or site.group, state=state)


def _at(path: str) -> Site:
    path = os.path.abspath(path)
    blocks, maps, locks = (os.path.join(path, name) for name in (BLOCKS, MAPS, LOCKS))
    if not os.path.isdir(maps) and not os.path.isdir(blocks) and os.path.isdir(path):
        above = os.path.dirname(path)
        if os.path.isdir(os.path.join(above, MAPS)):
            raise UsageError(f"{path} has no {MAPS} and {BLOCKS} in it: did you mean {above}?")
    return Site(blocks, maps, locks if os.path.isdir(locks) else "")


def _configured(path: Path) -> Site:
    try:
        text = read_text(path)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}: name the configuration with --config FILE, or the "
            f"directory with {BLOCKS} and {MAPS} in it: PATH"
        ) from None
    try:
        blocks, maps = read_config(text, OF_BLOCKS), read_config(text, OF_MAPS)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    # v0.4 runs as root until perms is done: what the share is for then is its own user.
    user, group = (OWNER if name == "root" else name for name in (maps.user, maps.group))
    configured = (maps.user, maps.group)
    return Site(
        blocks.archip_dir, maps.archip_dir, maps.lock_dir or "", user, group, path, configured
    )
