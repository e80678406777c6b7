"""An NFS server of a tree in memory, in Python: hostile, forgetful or broken, as a test wants it.

XDR is written by hand (RFC 1813, RFC 5531). It speaks version 3, and version 4 if it is given one
(see `fake4`). Owns its listener and a thread for each connection; `hook` may answer in its place.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import stat
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from tests.nfs.fake4 import Version4

LOOPBACK = "127.0.0.1"
MOUNT = 100005
PROG_MISMATCH = 2
GETATTR, SETATTR, LOOKUP, READDIR, READDIRPLUS, FSSTAT = 1, 2, 3, 16, 17, 18
NOENT, ACCES, ROFS, DQUOT, STALE = 2, 13, 30, 69, 70
NOT_SYNC, BAD_COOKIE, JUKEBOX = 10002, 10003, 10008
TYPES = {stat.S_IFREG: 1, stat.S_IFDIR: 2, stat.S_IFLNK: 5}
LAST = 0x80000000
# What no entry can be called.
BAD_NAMES = {
    "empty": b"",
    "slash": b"a/b",
    "root": b"/",
    "nul": b"nul\0",
    "long": b"x" * 1025,
    "endless": b"x" * 65535,
}


class Drop(Exception):
    """The connection is closed instead of a reply."""


@dataclass
class Node:
    """An entry; its number is its handle, and its inode unless that is another."""

    number: int
    mode: int
    uid: int = 0
    gid: int = 0
    children: dict[bytes, Node] = field(default_factory=dict)
    ctime: int = 1 << 32
    fsid: int = 1
    gone: bool = False
    other_inode: int = 0
    birth: int = 1  # seconds; told by version 4
    tick: int = 1  # by which a change advances its ctime

    @property
    def inode(self) -> int:
        """Its fileid."""
        return self.other_inode or self.number

    def attributes(self) -> bytes:
        """Return fattr3."""
        head = (TYPES[stat.S_IFMT(self.mode)], self.mode & 0o7777, 1, self.uid, self.gid)
        return struct.pack(
            ">5I 2Q 2I 2Q 3Q",
            *(*head, 0, 0, 0, 0, self.fsid, self.inode, 0, 0, self.ctime),
        )

    def handle(self) -> bytes:
        """Return nfs_fh3."""
        return struct.pack(">IQ", 8, self.number)


@dataclass
class Call:
    """A call: its procedure and what is left of its arguments."""

    procedure: int
    body: bytes
    at: int = 0

    def number(self) -> int:
        """Take an unsigned int."""
        self.at += 4
        return int(struct.unpack_from(">I", self.body, self.at - 4)[0])

    def long(self) -> int:
        """Take an unsigned hyper."""
        return self.number() << 32 | self.number()

    def bytes(self) -> bytes:
        """Take an opaque."""
        length = self.number()
        self.at += (length + 3) // 4 * 4
        return self.body[self.at - (length + 3) // 4 * 4 :][:length]


def opaque(content: bytes) -> bytes:
    """Return content with its length, padded."""
    return struct.pack(">I", len(content)) + content + bytes(-len(content) % 4)


class Fake:
    """A server, from `with` on. Both programs are at `port`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(2)
        self._nodes: dict[int, Node] = {}
        self.root = self._add(Node(next(self._numbers), stat.S_IFDIR | 0o755))
        self.hook: Callable[[Call], bytes | None] = lambda _: None
        self.page = 100  # entries of a READDIRPLUS
        self.tells_attributes = self.tells_handles = self.tells_after = True
        self.compares_seconds = False  # of a guard; and SETATTR tells what was before
        self.version4: Version4 | None = None
        self.speaks_3 = True
        self.takes_owners = False  # that a client sets them is a fault unless a test asks for it
        self.calls: Counter[int] = Counter()  # of version 3
        self._lock = threading.Lock()
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]

    def url(self, version: int = 3, **options: object) -> str:
        """Return the share's URL; version 0 leaves it to the client."""
        options = {"nfsport": self.port, "mountport": self.port, **options}
        if version:
            options["version"] = version
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"nfs://{LOOPBACK}/share?{query}"

    def file(self, name: bytes, mode: int = 0o640, parent: Node | None = None) -> Node:
        """Add a regular file."""
        return self._put(name, stat.S_IFREG | mode, parent)

    def directory(self, name: bytes, mode: int = 0o755, parent: Node | None = None) -> Node:
        """Add a directory."""
        return self._put(name, stat.S_IFDIR | mode, parent)

    def node(self, handle: bytes) -> Node:
        """Return what a handle names."""
        return self._nodes[int.from_bytes(handle, "big")]

    def drift(self, gid: int) -> list[bytes]:
        """Return the entries that are not of the group (the root is `b""`)."""
        wrong = []
        stack = [(b"", self.root)]
        while stack:
            path, node = stack.pop()
            bits = 0o2070 if stat.S_ISDIR(node.mode) else 0o060
            if node.gid != gid or node.mode & bits != bits:
                wrong.append(path)
            stack += [(path + b"/" + name, child) for name, child in node.children.items()]
        return wrong

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _put(self, name: bytes, mode: int, parent: Node | None) -> Node:
        node = self._add(Node(next(self._numbers), mode, 1000, 1000))
        (parent or self.root).children[name] = node
        return node

    def _add(self, node: Node) -> Node:
        self._nodes[node.number] = node
        return node

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the test is over
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(Drop, OSError):
            while mark := stream.read(4):
                message = stream.read(int.from_bytes(mark, "big") & ~LAST)
                with self._lock:
                    reply = self._reply(message)
                connection.sendall(reply)

    def _reply(self, message: bytes) -> bytes:
        xid, _, _, program, version, procedure, _, length = struct.unpack_from(">8I", message)
        call = Call(procedure, message[32 + length + 8 :])
        head = struct.pack(">6I", xid, 1, 0, 0, 0, 0)
        if program == MOUNT:
            result = struct.pack(">I", 0) + self.root.handle() + struct.pack(">2I", 1, 1)
        elif (version == 4 and not self.version4) or (version == 3 and not self.speaks_3):
            head, result = struct.pack(">8I", xid, 1, 0, 0, 0, PROG_MISMATCH, 2, 2), b""
        elif version == 4:
            result = self._compound(call)
        else:
            self.calls[procedure] += 1
            answer = self.hook(Call(procedure, call.body))
            if answer is not None and answer.startswith(b"RAW"):
                return answer[3:]
            result = self._result(call) if answer is None else answer
        return struct.pack(">I", LAST | len(head + result)) + head + result

    def _compound(self, call: Call) -> bytes:
        from tests.nfs.fake4 import Compound  # noqa: PLC0415 -- it is made of what is here

        assert self.version4
        made = Node(1, stat.S_IFDIR | 0o755, children={b"share": self.root}, fsid=0)
        pseudo = self._nodes.setdefault(made.number, made)
        return Compound(self.version4, pseudo, self._nodes, self.page).reply(call)

    def _result(self, call: Call) -> bytes:
        node = self._nodes.get(int.from_bytes(call.bytes(), "big"))
        if node is None or node.gone:
            return error(STALE)
        if call.procedure == GETATTR:
            return struct.pack(">I", 0) + node.attributes()
        if call.procedure == LOOKUP:
            return self._lookup(node, call.bytes())
        if call.procedure == SETATTR:
            return self._setattr(node, call)
        if call.procedure == READDIRPLUS:
            return self.listing(node, call.long())
        return struct.pack(">2I", 0, 0) + bytes(52)  # FSSTAT

    def _lookup(self, node: Node, name: bytes) -> bytes:
        child = node.children.get(name)
        if child is None:
            return error(NOENT)
        return struct.pack(">I", 0) + child.handle() + self._optional(child) + bytes(4)

    def _optional(self, node: Node) -> bytes:
        return struct.pack(">I", 1) + node.attributes() if self.tells_attributes else bytes(4)

    def _setattr(self, node: Node, call: Call) -> bytes:
        mode = call.number() and call.number() | 1 << 31
        sets_uid = call.number()
        assert self.takes_owners or not sets_uid, "never the owner"
        uid = call.number() if sets_uid else None
        sets_gid = call.number()
        gid = call.number() if sets_gid else None
        assert call.long() == 0, "neither size nor atime"
        assert call.number() == 0, "nor mtime"
        unseen = 32 if self.compares_seconds else 0
        if call.number() and call.long() >> unseen != node.ctime >> unseen:
            return error(NOT_SYNC)
        before = struct.pack(">I 3Q", 1, 0, 0, node.ctime) if self.compares_seconds else bytes(4)
        if mode:
            node.mode = stat.S_IFMT(node.mode) | mode & 0o7777
        if uid is not None:
            node.uid = uid
        if gid is not None:
            node.gid = gid
        node.ctime += node.tick
        after = struct.pack(">I", 1) + node.attributes() if self.tells_after else bytes(4)
        return bytes(4) + before + after

    def listing(self, node: Node, cookie: int = 0) -> bytes:
        """Return READDIRPLUS3res from an entry on."""
        names = list(node.children.items())
        dots = [(b".", node), (b"..", self.root)]
        shown = [*dots, *names][cookie : cookie + self.page]
        out = struct.pack(">I", 0) + self._optional(node) + b"verifier"
        for number, (name, child) in enumerate(shown, cookie + 1):
            out += entry(
                name,
                child,
                number,
                attributes=self.tells_attributes,
                handle=self.tells_handles,
            )
        return out + struct.pack(">2I", 0, cookie + len(shown) >= len(names) + 2)


def error(status: int) -> bytes:
    """Return a reply of a status, with nothing more to say."""
    return struct.pack(">3I", status, 0, 0)


def entry(
    name: bytes, node: Node, cookie: int, *, attributes: bool = True, handle: bool = True
) -> bytes:
    """Return entryplus3, with the word before it that says that there is one."""
    out = struct.pack(">IQ", 1, node.inode) + opaque(name) + struct.pack(">Q", cookie)
    out += struct.pack(">I", 1) + node.attributes() if attributes else bytes(4)
    return out + (struct.pack(">I", 1) + node.handle() if handle else bytes(4))
