"""Pack a map's head for the journal's table of files.

JSON, because sizes and epochs have 64 bits, and SQLite's integers have a sign.
"""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter

from ..format.head import Head

_VALUES = attrgetter(*(field.name for field in fields(Head)))


def pack_head(head: Head) -> str:
    """Pack the fields of a head, in their order."""
    return json.dumps(_VALUES(head), separators=(",", ":"))


def unpack_head(packed: str) -> Head:
    """Unpack what `pack_head` packed."""
    return Head(*json.loads(packed))
