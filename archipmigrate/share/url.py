"""A share named by a URL: it is spoken to by NFS, without a mount.

    nfs://server/path?version=4&nfsport=2049&mountport=20048&uid=0&gid=0&timeout=60&domain=NAME

All after `?` may be left out: version 4 is tried then, and 3 where that does not lead to the share;
ports are the usual one and what the port mapper says, uid and gid the process's. `timeout` is how
many seconds a server may be silent before calls to it fail. `domain` is for servers of version 4
whose owners are names (`user@NAME`): they are mapped by this host's users and groups.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlsplit

from ..errors import ShareError

SCHEME = "nfs://"
TIMEOUT = 60
USUAL_PORT = 2049
MOST_ID = 2**32 - 2
# Of each option: its least and greatest value.
OPTIONS = {
    "version": (3, 4),
    "nfsport": (1, 65535),
    "mountport": (1, 65535),
    "uid": (0, MOST_ID),
    "gid": (0, MOST_ID),
    "timeout": (1, 3600),
}
DOMAIN = "domain"
MOST_DOMAIN = 95
ADVICE = {
    "address": "is that the name of the server?",
    "port mapper": "say which port mountd has: mountport=N",
    "mount": "does the server export this path to this host, for sec=sys?",
    "lookup": "is this the path below the root of NFSv4? (version=3 has its own)",
    "getattr": "is that the port of the server's NFSv3? (nfsport=N)",
}


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a share is, as its URL has it; `path` is absolute."""

    server: str
    path: bytes
    options: Mapping[str, int]
    domain: str = ""

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions of NFS to try, the preferred one first: 4 takes half of the calls."""
        version = 4 if self.domain else self.options.get("version")
        return (version,) if version else (4, 3)

    @property
    def source(self) -> str:
        """What a mount of it would be called; with its port, if that is not the usual one."""
        port = self.options.get("nfsport", USUAL_PORT)
        where = self.server if port == USUAL_PORT else f"{self.server}:{port}"
        return f"{where}:{self.path.decode(errors='surrogateescape')}"


def is_url(path: str | bytes) -> bool:
    """Say whether a share is named by a URL."""
    return os.fsdecode(path).startswith(SCHEME)


def with_domain(url: str, domain: str) -> str:
    """Return a URL that has the domain of owners' names, in the place of another."""
    front, _, query = url.partition("?")
    options = [option for option in query.split("&") if option.partition("=")[0] != DOMAIN]
    return front + "?" + "&".join([*filter(None, options), f"{DOMAIN}={quote(domain, safe='')}"])


def domain_of(path: str, given: str) -> str:
    """Return the domain of owners' names that was given, or else is in a URL. Raises ShareError."""
    return given or (parse_url(path).domain if is_url(path) else "")


def parse_url(url: str) -> Remote:
    """Take a URL apart. Raises ShareError."""
    try:
        parts = urlsplit(url)
        server, port = parts.hostname, parts.port
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        domain = dict(given).get(DOMAIN)
        given = [(name, value) for name, value in given if name != DOMAIN]
        unknown = next((name for name, _ in given if name not in OPTIONS), None)
        options = {} if unknown else {name: int(value) for name, value in given}
    except ValueError as error:
        raise ShareError(f"{url}: {error}: {_FORM}") from None
    if port is not None:
        options.setdefault("nfsport", port)
    path = unquote_to_bytes(parts.path).rstrip(b"/") or b"/"
    if unknown:
        known = ", ".join((*OPTIONS, DOMAIN))
        raise ShareError(f"{url}: there is no option {unknown}, only {known}")
    for name, value in options.items():
        least, greatest = OPTIONS[name]
        if not least <= value <= greatest:
            raise ShareError(f"{url}: {name} is from {least} to {greatest}")
    if not server or not parts.path.startswith("/") or b"\0" in path:
        raise ShareError(f"{url}: {_FORM}")
    remote = Remote(server, path, options)
    return remote if domain is None else _mapped(url, remote, domain)


def is_domain(text: str) -> bool:
    """Say whether a text may be the domain of owners' names."""
    return 0 < len(text) <= MOST_DOMAIN and text.isascii() and not set(text) & set("@\0")


def _mapped(url: str, remote: Remote, domain: str) -> Remote:
    if not is_domain(domain):
        raise ShareError(f"{url}: the domain of owners' names is one like example.org")
    if remote.options.get("version", 4) != 4:
        raise ShareError(f"{url}: owners' names ({domain}) are version 4's: leave version=3 away")
    return replace(remote, domain=domain)


def refusal(url: str, error: OSError) -> ShareError:
    """Return what to tell the user if a share could not be mounted."""
    operation = str(error.filename)
    if error.errno == errno.EPROTOTYPE:
        return ShareError(f"{url}: {NAMED}: {MAP_THEM}")
    if error.errno in (errno.ENOKEY, errno.ENOTUNIQ):
        return ShareError(f"{url}: {UNMAPPED[error.errno]}")
    return ShareError(f"{url}: {operation}: {error.strerror}: {ADVICE.get(operation, _FORM)}")


NAMED = "the server has names for owners, or refuses numbers"
MAP_THEM = "map them with --nfs4-domain DOMAIN, or use version=3"
# What --nfs4-domain cannot map, as errors have it.
UNMAPPED = {
    errno.ENOKEY: "its owner or group is nobody here, or is of another domain",
    errno.ENOTUNIQ: "the server would not get its group back as it gave it: that is a number which "
    "has a name here, or one of several names of a number",
}
_FORM = "say nfs://SERVER/PATH, and perhaps ?nfsport=N&mountport=N"
