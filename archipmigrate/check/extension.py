"""Whether the C extension is there: without it everything works, but slower."""

from __future__ import annotations

from collections.abc import Iterator

from ..backend.extensions import BUILT
from .finding import Finding, Topic, ok, warning
from .question import Question


def extension(question: Question) -> Iterator[Finding]:
    """Say which backend will work."""
    del question
    if BUILT:
        yield ok(Topic.EXTENSION, "the C extension is installed", native=True)
    else:
        yield warning(
            Topic.EXTENSION,
            "no C extension: walks take several times as long",
            "install again with gcc, libc6-dev and python3-dev at hand",
            native=False,
        )
