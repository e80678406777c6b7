"""How the share is mounted: read-write; over NFS, the version and the options that matter."""

from __future__ import annotations

from collections.abc import Iterator

from ..share import NFS, Mount
from .finding import Finding, Topic, blocker, ok, warning
from .question import Question, opened


def nfs(question: Question) -> Iterator[Finding]:
    """Look at the mount of each directory, each mount once."""
    seen: set[tuple[str, str]] = set()
    for what, path in question.site.directories.items():
        with opened(path) as share:
            if share is None or (share.mount.point, share.mount.device) in seen:
                continue
            seen.add((share.mount.point, share.mount.device))
            yield from findings_of_mount(what, share.mount)


def findings_of_mount(what: str, mount: Mount) -> Iterator[Finding]:
    """Judge the mount that *what* lies on. Pure."""
    words = set(mount.options.split(","))
    values = mount.option_values()
    where = f"{what}: {mount.source} on {mount.point}"
    if "ro" in words:
        yield blocker(
            Topic.NFS,
            f"{where} is read-only",
            f"mount -o remount,rw {mount.point}",
            point=mount.point,
        )
    if mount.fstype not in NFS:
        yield ok(Topic.NFS, f"{where}: {mount.fstype}, not NFS", fstype=mount.fstype)
        return
    version = values.get("vers", "?")
    flavour = values.get("sec", "sys")
    if "soft" in words or "softerr" in words:
        yield warning(
            Topic.NFS,
            f"{where} is a soft mount: when the server is slow, writes of guests are lost",
            "mount it with -o hard on all nodes",
            option="soft",
        )
    if flavour != "sys":
        yield warning(
            Topic.NFS,
            f"{where} has sec={flavour}: root is whom its ticket names, and may change no owners",
            "run the jobs on the server, or on a mount with sec=sys and no_root_squash",
            sec=flavour,
        )
    yield ok(
        Topic.NFS,
        f"{where}: NFS {version}, {'soft' if 'soft' in words else 'hard'}, sec={flavour}",
        version=version,
        sec=flavour,
    )
