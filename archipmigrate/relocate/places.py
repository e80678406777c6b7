"""Places as paths from a blocker's directory. Pure."""

from __future__ import annotations

from ..layout.names import PREFIX
from ..layout.placement import LEVELS, pithos_dir, sha256_dir

UP = b".."
END = len(PREFIX) + 2 * LEVELS


def sha256_directory(name: bytes) -> bytes:
    """Return the directory in which v0.4 looks for an object."""
    return b"/".join(sha256_dir(name))


def pithos_directory(name: bytes) -> bytes | None:
    """Return the directory in which Pithos keeps an object; None if it is none of Pithos."""
    path = pithos_dir(name)
    return None if path is None else b"/".join(path)


def tree_directory(name: bytes) -> bytes:
    """Return the directory of Pithos' own tree in which v0.3 looks for any name, first of all."""
    return b"/".join(name[at : at + 2] for at in range(0, 2 * LEVELS, 2))


def v03_directory(name: bytes) -> bytes | None:
    """Return the directory in which v0.3 put an object, by the bytes 7 to 12 of its name.

    v0.3 takes `..` in a name literally: `archip_ab..cdef` lies in `cd`. None if the name is too
    short, and if its place is outside of the blocker's directory.
    """
    steps = v03_steps(name)
    return b"/".join(steps) if steps and steps[0] != UP else None


def v03_steps(name: bytes) -> list[bytes]:
    """Return the steps from the root of a blocker to where v0.3 put an object.

    The first ones are `..` if that is outside of the root; none if it is the root, or not known.
    """
    steps: list[bytes] = []
    for at in range(len(PREFIX), END, 2) if len(name) >= END else ():
        step = name[at : at + 2]
        if step == UP and steps and steps[-1] != UP:
            steps.pop()
        else:
            steps.append(step)
    return steps
