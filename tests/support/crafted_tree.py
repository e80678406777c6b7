"""A tree with every kind of entry, mode and name that the rules speak of; always the same.

`build` makes it below a directory and, beside that (`outside`), what links in it lead to. Nothing
in it is of group GID but what says so.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from tests.support.program import GID

# Modes of files: nothing, ordinary, sticky, and set-id bits with and without the executable bits
# that decide whether a change of group strips them.
FILE_MODES = (
    *(
        0o0000,
        0o0004,
        0o0400,
        0o0444,
        0o0600,
        0o0640,
        0o0644,
        0o0660,
        0o0664,
        0o0700,
        0o0755,
        0o0777,
    ),
    *(0o1000, 0o1644, 0o1777, 0o7777, 0o7666),
    *(0o4000, 0o4644, 0o4660, 0o4711, 0o4755, 0o4775),
    *(0o2000, 0o2010, 0o2644, 0o2660, 0o2711, 0o2755, 0o2775),
    *(0o6000, 0o6644, 0o6660, 0o6755, 0o6775),
)
DIRECTORY_MODES = (
    *(0o0000, 0o0500, 0o0700, 0o0755, 0o0770, 0o0777, 0o1000, 0o1777, 0o3777),
    *(0o2000, 0o2070, 0o2755, 0o2770, 0o4000, 0o4755, 0o6755, 0o6770, 0o7777),
)
OWNERS = ((0, 0), (1000, 1000), (54322, 1000), (1000, 54322))
NAMES = (
    b"new\nline",
    b"\xff\xfe not UTF-8 \x80",
    b"-rf",
    b"--help",
    b"-",
    b" spaces  before and after ",
    b"tab\there",
    b"x" * 255,
    b"\xc3\xa9" * 127,
    b"\x01\x1b[31mred\x1b[0m\x7f",
    b"*",
    b"?[a-z]{b,c}",
    b"'single' \"double\" `back` $(dollar)",
    b"back\\slash\\n",
    b"...",
    b"~",
    b"#",
    b";&|<>",
    "ﬁ\u202egnp.\N{ZERO WIDTH SPACE}".encode(),
    b"{}",
)
# struct posix_acl_xattr_header and entries (linux/posix_acl_xattr.h): tag, permissions, id.
ACL_VERSION = 2
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20
NO_ID = 0xFFFFFFFF
# struct vfs_cap_data (linux/capability.h), revision 2: cap_net_raw, permitted and effective.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def outside(root: Path) -> Path:
    """Return the directory beside the tree that its hard links and symbolic links lead to."""
    return root.with_name(root.name + ".outside")


def build(root: Path) -> None:
    """Make the tree below *root*, which may be there already, and what it needs beside it."""
    root.mkdir(exist_ok=True)
    outside(root).mkdir()
    top = os.fsencode(root)
    for make in (_files, _directories, _compliant, _odd, _acls, _links, _names, _nested):
        make(top)
    os.chmod(root, 0o750)
    os.chown(root, 1000, 1000)


def _file(path: bytes, mode: int, uid: int = 0, gid: int = 0, content: bytes = b"") -> None:
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, uid, gid)
    os.chmod(path, mode)  # last, for a change of owner strips bits


def _directory(path: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
    os.mkdir(path)
    os.chown(path, uid, gid)
    os.chmod(path, mode)


def _each(top: bytes, kind: bytes, modes: tuple[int, ...], make: Callable[..., None]) -> None:
    """Make an entry of each mode, with the owners taking turns, and again with the right group."""
    os.mkdir(top + b"/" + kind)
    for number, mode in enumerate(modes):
        place = b"%s/%s/%04o" % (top, kind, mode)
        make(place, mode, *OWNERS[number % len(OWNERS)])
        make(place + b".group", mode, 1000, GID)


def _files(top: bytes) -> None:
    _each(top, b"files", FILE_MODES, _file)


def _directories(top: bytes) -> None:
    _each(top, b"directories", DIRECTORY_MODES, _directory)
    for mode in DIRECTORY_MODES:
        _file(b"%s/directories/%04o/inside" % (top, mode), 0o640, 1000, 1000)


def _compliant(top: bytes) -> None:
    """Make entries that are right already, in a directory that is."""
    below = top + b"/compliant"
    _directory(below, 0o2770, 1000, GID)
    for mode in (0o0060, 0o0660, 0o0664, 0o1660, 0o2660, 0o4660, 0o4770, 0o6770):
        _file(b"%s/%04o" % (below, mode), mode, 1000, GID)
    for mode in (0o2070, 0o2775, 0o3777, 0o6770):
        _directory(b"%s/d%04o" % (below, mode), mode, 1000, GID)
    _file(below + b"/d2775/wrong", 0o600)


def _odd(top: bytes) -> None:
    """Make entries that are neither directories nor regular files."""
    below = top + b"/odd"
    _directory(below, 0o700)
    _directory(below + b"/directory", 0o700)
    _file(below + b"/directory/file", 0o600)
    _file(os.fsencode(outside(Path(os.fsdecode(top)))) + b"/file", 0o604, 1000, 1000)
    _directory(os.fsencode(outside(Path(os.fsdecode(top)))) + b"/directory", 0o705, 1000, 1000)
    for name, target in (
        (b"to-file", b"directory/file"),
        (b"to-directory", b"directory"),
        (b"to-outside-file", b"../../" + os.path.basename(top) + b".outside/file"),
        (b"to-outside-directory", b"../../" + os.path.basename(top) + b".outside/directory"),
        (b"to-parent", b".."),
        (b"to-root", b"/"),
        (b"dangling", b"nowhere"),
        (b"loop", b"loop"),
    ):
        os.symlink(target, below + b"/" + name)
        os.chown(below + b"/" + name, 1000, 1000, follow_symlinks=False)
    for name, kind, device in (
        (b"fifo", stat.S_IFIFO, 0),
        (b"socket", stat.S_IFSOCK, 0),
        (b"null", stat.S_IFCHR, os.makedev(1, 3)),
        (b"block", stat.S_IFBLK, os.makedev(7, 4095)),
    ):
        os.mknod(below + b"/" + name, kind | 0o600, device)
        os.chown(below + b"/" + name, 1000, 1000)


def _acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", ACL_VERSION) + b"".join(struct.pack("<HHI", *e) for e in entries)


def _acls(top: bytes) -> None:
    """Make entries with ACLs, whose group bits are the mask, and one with a file capability."""
    below = top + b"/acl"
    _directory(below, 0o755)
    narrow = _acl(
        (USER_OBJ, 6, NO_ID),
        (USER, 4, 1000),
        (GROUP_OBJ, 0, NO_ID),
        (MASK, 4, NO_ID),
        (OTHER, 0, NO_ID),
    )
    wide = _acl(
        *((USER_OBJ, 7, NO_ID), (USER, 7, 1000), (GROUP_OBJ, 5, NO_ID)),
        *((GROUP, 7, 54322), (MASK, 7, NO_ID), (OTHER, 0, NO_ID)),
    )
    _directory(below + b"/default", 0o750, 1000, 1000)
    os.setxattr(below + b"/default", "system.posix_acl_default", wide)
    _file(below + b"/default/inherits", 0o640, 1000, 1000)
    _directory(below + b"/default/inherits-too", 0o700, 1000, 1000)
    for name, acl in ((b"narrow", narrow), (b"wide", wide)):
        _file(below + b"/" + name, 0o640, 1000, 1000)
        os.setxattr(below + b"/" + name, "system.posix_acl_access", acl)
        _directory(below + b"/d" + name, 0o750, 1000, 1000)
        os.setxattr(below + b"/d" + name, "system.posix_acl_access", acl)
    _file(below + b"/capable", 0o755, 0, 0)
    os.setxattr(below + b"/capable", "security.capability", CAPABILITY)


def _links(top: bytes) -> None:
    """Make files with several names, one of them beside the tree."""
    below = top + b"/links"
    _directory(below, 0o755)
    _file(below + b"/twice", 0o640, 1000, 1000)
    os.link(below + b"/twice", below + b"/twice-again")
    _directory(below + b"/elsewhere", 0o755)
    os.link(below + b"/twice", below + b"/elsewhere/thrice")
    _file(below + b"/set-id", 0o4755, 1000, 1000)
    os.link(below + b"/set-id", below + b"/elsewhere/set-id")
    _file(below + b"/right", 0o660, 1000, GID)
    os.link(below + b"/right", below + b"/right-again")
    beyond = os.fsencode(outside(Path(os.fsdecode(top)))) + b"/linked"
    _file(beyond, 0o600, 0, 0)
    os.link(beyond, below + b"/outside")


def _names(top: bytes) -> None:
    """Make files and directories of hostile names."""
    for kind in (b"hostile-files", b"hostile-directories"):
        _directory(top + b"/" + kind, 0o755)
    for name in NAMES:
        _file(top + b"/hostile-files/" + name, 0o600, 1000, 1000)
        _directory(top + b"/hostile-directories/" + name, 0o700, 1000, 1000)
        _file(top + b"/hostile-directories/" + name + b"/" + name, 0o400, 1000, 1000)


def _nested(top: bytes) -> None:
    """Make a few levels, with entries at each, and empty directories."""
    below = top + b"/nested"
    _directory(below, 0o711)
    for level in range(12):
        below += b"/%d" % level
        _directory(below, (0o700, 0o0000, 0o1755, 0o4711)[level % 4], *OWNERS[level % len(OWNERS)])
        _file(below + b"/file", 0o600, 1000, 1000)
        _directory(below + b"/empty", 0o555, 1000, 1000)
