"""Whether the C extension is installed: one answer for all that is there in Python and in C.

Imports nothing but the extension, so that all that has a twin in C may ask, the codec of maps too.
"""

from __future__ import annotations

from ..errors import BackendMissing

try:
    from .. import _native  # noqa: F401 -- to see whether it is there
except ImportError:  # no C compiler where this was installed
    BUILT = False
else:
    BUILT = True

NOT_BUILT = (
    "the C extension is not installed: the slower Python code works (the README's section Install "
    "says what it takes)"
)


def uses_native(name: str) -> bool:
    """Whether C serves for `--backend` *name*: always where it is built, except for `python`.

    Raises BackendMissing if *name* is `native`, which must not fall back, and it is not built.
    """
    if name == "native" and not BUILT:
        raise missing(name)
    return BUILT and name != "python"


def missing(name: str) -> BackendMissing:
    """Return the error for a backend that was not built; say which one to use instead."""
    other = "native" if BUILT else "python"
    return BackendMissing(
        f"the {name} backend is not installed: install with a C compiler at hand, "
        f"or use --backend {other}"
    )
