"""What `fake` knows of NFSv4.0 (RFC 7530): compounds without state, of a few operations.

Owns nothing: the tree is the Fake's. `hook` may decide an operation before it is done.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.nfs.fake import TYPES, Call, Node, opaque

GETATTR, GETFH, LOOKUP, PUTFH, PUTROOTFH, READDIR, SETATTR, VERIFY = 9, 10, 15, 22, 24, 26, 34, 37
PERM, NOENT, ACCES, NOTDIR, NOSPC, ROFS, DQUOT, STALE = 1, 2, 13, 20, 28, 30, 69, 70
BAD_COOKIE, DELAY, GRACE, FHEXPIRED, RESOURCE = 10003, 10008, 10013, 10014, 10018
MINOR_VERS_MISMATCH, NOT_SAME, BADOWNER = 10021, 10027, 10039
# Attributes by their numbers (section 5.6 and 5.7), in the order in which they are packed.
TYPE, FH_EXPIRE_TYPE, CHANGE, SIZE, FSID, RDATTR_ERROR, FILEHANDLE, FILEID = (
    1,
    2,
    3,
    4,
    8,
    11,
    19,
    20,
)
MODE, NUMLINKS, OWNER, OWNER_GROUP, TIME_CREATE, TIME_METADATA, TIME_MODIFY = (
    33,
    35,
    36,
    37,
    50,
    52,
    53,
)


@dataclass
class Operation:
    """One operation of a compound, about to be done to the current file handle's node."""

    number: int
    node: Node | None
    index: int  # in its compound
    cookie: int = 0  # READDIR's


@dataclass
class Version4:
    """How a Fake speaks version 4.

    `hook` returns a status or a result to be told instead of what is done, or None. `names` and
    `gids` are how owners' numbers are told, and what those that are set mean (None: BADOWNER);
    `uids` the same of users (None: that a client sets them is a fault).
    `told` maps the number of results to how many of them a reply has.
    """

    hook: Callable[[Operation], int | bytes | None] = lambda _: None
    names: Callable[[int], bytes] = lambda number: b"%d" % number
    gids: Callable[[bytes], int | None] = lambda text: int(text) if text.isdigit() else None
    uids: Callable[[bytes], int | None] | None = None
    told: Callable[[int], int] = lambda results: results
    minor: int = 0
    tells: frozenset[int] = frozenset(range(64))  # attributes of entries
    tells_births: bool = False
    expires: int = 0  # fh_expire_type
    done: list[int] = field(default_factory=list)  # operations of each compound
    numbers: list[int] = field(default_factory=list)  # all operations, as they were tried

    def attributes(self, node: Node, wanted: list[int]) -> bytes:
        """Return fattr4."""
        values = {
            TYPE: struct.pack(">I", TYPES[stat.S_IFMT(node.mode)]),
            FH_EXPIRE_TYPE: struct.pack(">I", self.expires),
            CHANGE: struct.pack(">Q", node.ctime),
            SIZE: bytes(8),
            FSID: struct.pack(">2Q", node.fsid, 0),
            RDATTR_ERROR: bytes(4),
            FILEHANDLE: node.handle(),
            FILEID: struct.pack(">Q", node.inode),
            MODE: struct.pack(">I", node.mode & 0o7777),
            NUMLINKS: struct.pack(">I", 1),
            OWNER: opaque(self.names(node.uid)),
            OWNER_GROUP: opaque(self.names(node.gid)),
            **({TIME_CREATE: struct.pack(">QI", node.birth, 0)} if self.tells_births else {}),
            TIME_METADATA: struct.pack(">QI", node.ctime >> 32, node.ctime & 0xFFFFFFFF),
            TIME_MODIFY: bytes(12),
        }
        told = [number for number in values if number in wanted]
        return bitmap(told) + opaque(b"".join(values[number] for number in told))

    def entry(self, name: bytes, node: Node, cookie: int, wanted: list[int]) -> bytes:
        """Return entry4, with the word before it that says that there is one."""
        attributes = self.attributes(node, [n for n in wanted if n in self.tells])
        return struct.pack(">IQ", 1, cookie) + opaque(name) + attributes


def bitmap(numbers: list[int]) -> bytes:
    """Return bitmap4, of two words."""
    words = [sum(1 << number % 32 for number in numbers if number // 32 == w) for w in (0, 1)]
    return struct.pack(">3I", 2, *words)


def take_bitmap(call: Call) -> list[int]:
    """Take a bitmap4."""
    words = [call.number() for _ in range(call.number())]
    return [32 * w + bit for w, word in enumerate(words) for bit in range(32) if word >> bit & 1]


class Compound:
    """One compound: its operations one after another, to the first that fails."""

    def __init__(self, version: Version4, root: Node, nodes: dict[int, Node], page: int) -> None:
        self._version, self._root, self._nodes, self._page = version, root, nodes, page
        self._node: Node | None = None

    def reply(self, call: Call) -> bytes:
        """Return COMPOUND4res."""
        assert call.bytes() == b"", "no tag"
        if call.number() != self._version.minor:
            return struct.pack(">3I", MINOR_VERS_MISMATCH, 0, 0)
        status, results = 0, []
        count = call.number()
        self._version.done.append(count)
        for index in range(count):
            number = call.number()
            status, result = self._do(number, index, call)
            results.append(struct.pack(">2I", number, status) + result)
            if status:
                break
        told = results[: self._version.told(len(results))]
        return struct.pack(">3I", status, 0, len(told)) + b"".join(told)

    def _do(self, number: int, index: int, call: Call) -> tuple[int, bytes]:
        act = {
            GETATTR: self._getattr,
            GETFH: self._getfh,
            LOOKUP: self._lookup,
            PUTFH: self._putfh,
            PUTROOTFH: self._putrootfh,
            READDIR: self._readdir,
            SETATTR: self._setattr,
            VERIFY: self._verify,
        }[number]
        self._version.numbers.append(number)
        operation = Operation(number, self._node, index)
        if number == READDIR:
            operation.cookie = Call(0, call.body, call.at).long()
        if number == PUTFH:
            operation.node = self._nodes.get(
                int.from_bytes(Call(0, call.body, call.at).bytes(), "big")
            )
        decided = self._version.hook(operation)
        if isinstance(decided, bytes):
            act(call)
            return 0, decided
        if decided:
            return decided, bitmap([]) if number == SETATTR else b""
        return act(call)

    def _at(self) -> Node:
        assert self._node, "there is a current file handle"
        return self._node

    def _putrootfh(self, call: Call) -> tuple[int, bytes]:
        self._node = self._root
        return 0, b""

    def _putfh(self, call: Call) -> tuple[int, bytes]:
        self._node = self._nodes.get(int.from_bytes(call.bytes(), "big"))
        return (0 if self._node and not self._node.gone else STALE), b""

    def _getfh(self, call: Call) -> tuple[int, bytes]:
        return 0, self._at().handle()

    def _getattr(self, call: Call) -> tuple[int, bytes]:
        return 0, self._version.attributes(self._at(), take_bitmap(call))

    def _lookup(self, call: Call) -> tuple[int, bytes]:
        self._node = self._at().children.get(call.bytes())
        return (0 if self._node else NOENT), b""

    def _verify(self, call: Call) -> tuple[int, bytes]:
        assert take_bitmap(call) == [CHANGE]
        assert call.number() == 8
        return (0 if call.long() == self._at().ctime else NOT_SAME), b""

    def _setattr(self, call: Call) -> tuple[int, bytes]:
        assert (call.long(), call.long()) == (0, 0), "the anonymous stateid"
        sets = take_bitmap(call)
        allowed = {MODE, OWNER_GROUP, *((OWNER,) if self._version.uids else ())}
        assert set(sets) <= allowed, "neither size nor times, nor the owner unless asked to"
        call.number()
        node = self._at()
        mode = call.number() if MODE in sets else None
        uid = node.uid
        if OWNER in sets and self._version.uids:
            new_uid = self._version.uids(call.bytes())
            if new_uid is None:
                return BADOWNER, bitmap([])
            uid = new_uid
        gid = self._version.gids(call.bytes()) if OWNER_GROUP in sets else node.gid
        if gid is None:
            return BADOWNER, bitmap([])
        if mode is not None:
            node.mode = stat.S_IFMT(node.mode) | mode
        node.uid, node.gid = uid, gid
        node.ctime += node.tick
        return 0, bitmap(sets)

    def _readdir(self, call: Call) -> tuple[int, bytes]:
        cookie = call.long()
        call.long()  # the verifier
        call.number()
        call.number()
        wanted = take_bitmap(call)
        names = list(self._at().children.items())
        shown = names[max(cookie - 2, 0) :][: self._page]
        first = max(cookie, 2)  # 0, 1 and 2 are reserved
        out = b"verifier"
        for number, (name, node) in enumerate(shown, first + 1):
            out += self._version.entry(name, node, number, wanted)
        return 0, out + struct.pack(">2I", 0, first - 2 + len(shown) >= len(names))
