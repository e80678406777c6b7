"""URLs of shares, which are reached by NFS without a mount.

    nfs://server/path?version=4&nfsport=2049&mountport=20048&uid=0&gid=0&timeout=60&domain=NAME
    nfs://address,address,.../path

Everything after `?` is optional. By default version 4 is tried first, then 3; ports are 2049 and
what the port mapper says; uid and gid are the process's. `timeout` is how many seconds a server may
be silent before calls to it fail. `domain` is for servers of version 4 that send owner names
(`user@NAME`): names of that domain stand for this host's users and groups.

Several addresses are those of one server, in any order: the first one in alphabetical order names
the share.

This module parses, and words what is wrong with a URL or its server. `remote` opens it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from ..errors import ShareError
from ..numerals import read_number

SCHEME = "nfs://"
TIMEOUT = 60
USUAL_PORT = 2049
MAX_ID = 2**32 - 2
MAX_SERVERS = 16  # RPC_MAX_ADDRESSES of native/nfs/proto/rpc.h
# The smallest and largest value of each option.
OPTIONS = {
    "version": (3, 4),
    "nfsport": (1, 65535),
    "mountport": (1, 65535),
    "uid": (0, MAX_ID),
    "gid": (0, MAX_ID),
    "timeout": (1, 3600),
}
DOMAIN = "domain"
MAX_DOMAIN = 95
# What to check, by the step that failed (`_nfs.mount`).
ADVICE = {
    "address": "is that the name of the server?",
    "port mapper": "name the port of mountd: mountport=N",
    "mount": "does the server export this path to this host, for sec=sys?",
    "lookup": "is this the path below the root of NFSv4? (version=3 has its own)",
    "getattr": "is that the port of the server's NFSv3? (nfsport=N)",
}
NAMED = "the server sends owner names or refuses numeric ids"
MAP_THEM = "map them with --nfs4-domain DOMAIN, or use version=3"
USING_3 = f"using NFSv3: {NAMED} (--nfs4-domain DOMAIN would map them)"
# Owners that --nfs4-domain cannot map, by the errno of an entry.
UNMAPPED = {
    errno.ENOKEY: "its owner or group is unknown on this host, or of another domain",
    errno.ENOTUNIQ: "its owner or group could not be sent back as the server sent it: it is a "
    "number that has a name on this host, or one of several names of a number",
}
# Errors of version 4 that say what the server lacks, whatever the step.
LACKING = (errno.ENODATA, errno.EPROTONOSUPPORT)
# Errors of a server's port after which no other way is tried.
UNREACHABLE = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
)
_FORM = "write nfs://SERVER/PATH, and ?nfsport=N&mountport=N where needed"


@dataclass(frozen=True, slots=True)
class Remote:
    """A parsed URL; `path` is absolute. `others` are more addresses of the server, sorted."""

    server: str
    path: bytes
    options: Mapping[str, int]
    domain: str = ""
    others: tuple[str, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of NFS to try, in this order: 4 needs half as many calls as 3."""
        version = 4 if self.domain else self.options.get("version")
        return (version,) if version else (4, 3)

    @property
    def source(self) -> str:
        """What the source of a mount would be; with the port, if it is not the usual one."""
        port = self.options.get("nfsport", USUAL_PORT)
        where = self.server if port == USUAL_PORT else f"{self.server}:{port}"
        return f"{where}:{self.path.decode(errors='surrogateescape')}"


def is_url(path: str | bytes) -> bool:
    """Return whether a share is named by a URL."""
    return os.fsdecode(path).startswith(SCHEME)


def is_domain(text: str) -> bool:
    """Return whether a text may be the domain of owner names."""
    return 0 < len(text) <= MAX_DOMAIN and text.isascii() and not set(text) & set("@\0")


def with_domain(url: str, domain: str) -> str:
    """Return a URL with this domain of owner names, which replaces another."""
    front, _, query = url.partition("?")
    options = [option for option in query.split("&") if option.partition("=")[0] != DOMAIN]
    return front + "?" + "&".join([*filter(None, options), f"{DOMAIN}={quote(domain, safe='')}"])


def domain_of(path: str, given: str) -> str:
    """Return the domain that was given, or else the URL's. Raises ShareError."""
    return given or (parse_url(path).domain if is_url(path) else "")


def parse_url(url: str) -> Remote:
    """Parse a URL. Raises ShareError."""
    try:
        authority, slash, rest = url.removeprefix(SCHEME).partition("/")
        parts = urlsplit(f"{SCHEME}server{slash}{rest}")
        servers, port = _servers(authority)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        domain = dict(given).get(DOMAIN)
        given = [(name, value) for name, value in given if name != DOMAIN]
        unknown = next((name for name, _ in given if name not in OPTIONS), None)
        options = {} if unknown else {name: _number(name, value) for name, value in given}
    except ValueError as error:
        raise ShareError(f"{url}: {error}: {_FORM}") from None
    if port is not None:
        options.setdefault("nfsport", port)
    path = unquote_to_bytes(parts.path).rstrip(b"/") or b"/"
    if unknown:
        known = ", ".join((*OPTIONS, DOMAIN))
        raise ShareError(f"{url}: unknown option {unknown}: there are {known}")
    for name, value in options.items():
        smallest, largest = OPTIONS[name]
        if not smallest <= value <= largest:
            raise ShareError(f"{url}: {name} is from {smallest} to {largest}")
    if not all(servers):
        raise ShareError(f"{url}: no server is named: {_FORM}")
    if not parts.path.startswith("/") or b"\0" in path:
        raise ShareError(f"{url}: {_FORM}")
    remote = Remote(servers[0], path, options, others=tuple(servers[1:]))
    return remote if domain is None else _mapped(url, remote, domain)


def _servers(authority: str) -> tuple[list[str], int | None]:
    """Return the addresses, sorted, and the port of all of them. Raises ValueError."""
    parts = [urlsplit(f"//{one}") for one in authority.split(",")]
    ports = {part.port for part in parts} - {None}
    servers = sorted({part.hostname or "" for part in parts})
    if len(ports) > 1:
        raise ValueError("the addresses of a server have one port (nfsport=N)")
    if len(servers) > MAX_SERVERS:
        raise ValueError(f"there may be {MAX_SERVERS} addresses")
    return servers, next(iter(ports), None)


def _number(name: str, text: str) -> int:
    number = read_number(text)
    if number is None:
        raise ValueError(f"{name}={text!r} is not a number")
    return number


def _mapped(url: str, remote: Remote, domain: str) -> Remote:
    if not is_domain(domain):
        raise ShareError(f"{url}: the domain of owner names is one like example.org")
    if remote.options.get("version", 4) != 4:
        raise ShareError(f"{url}: only version 4 has owner names ({domain}): leave version=3 away")
    return replace(remote, domain=domain)


def cause(error: OSError) -> str:
    """Return why a share cannot be mounted: the step that failed, or what the server lacks."""
    if error.errno == errno.ENODATA:
        return f"the server's NFSv4 lacks the attribute {error.filename}, which is needed"
    if error.errno == errno.EPROTONOSUPPORT:
        return "the server has NFSv4.1 or later only, and this program uses NFSv4.0"
    where = f"{error.filename2}: " if error.filename2 else ""
    return f"{where}{error.filename or 'getattr'}: {error.strerror}"


def refusal(url: str, error: OSError, by_3: OSError | None = None) -> ShareError:
    """Return what to tell the user when a share cannot be mounted.

    *by_3* is the error of version 3, if that was tried because of what version 4 lacks.
    """
    operation = str(error.filename)
    if error.errno in LACKING and by_3 is not None:
        return ShareError(f"{url}: {cause(error)}; by NFSv3: {cause(by_3)}: mount the share")
    if error.errno in LACKING:
        return ShareError(f"{url}: {cause(error)}: use version=3, or mount the share")
    if error.errno == errno.EPROTOTYPE:
        return ShareError(f"{url}: {NAMED}: {MAP_THEM}")
    if error.errno in UNMAPPED:
        return ShareError(f"{url}: {UNMAPPED[error.errno]}")
    return ShareError(f"{url}: {cause(error)}: {ADVICE.get(operation, _FORM)}")
