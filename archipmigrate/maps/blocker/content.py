"""A map's head as the journal keeps it: JSON, for sizes of 64 bits do not fit into SQLite."""

from __future__ import annotations

import json
from dataclasses import fields
from operator import attrgetter

from ..format.head import Head

_VALUES = attrgetter(*(field.name for field in fields(Head)))


def pack_head(head: Head) -> str:
    """Pack a head."""
    return json.dumps(_VALUES(head), separators=(",", ":"))


def unpack_head(content: str) -> Head:
    """Return what `pack_head` packed."""
    return Head(*json.loads(content))
