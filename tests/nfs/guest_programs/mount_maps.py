"""Guest programs: mapfiles through a mount. See `runtime` for what they are made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from archipmigrate.testshare import OtherVolumes, make_share
from tests.nfs.guest_programs.mount import ended
from tests.nfs.guest_programs.runtime import (
    EXPORT,
    KEEP_ATTRIBUTES,
    MOUNT,
    ROOT,
    calls,
    export,
    mount,
    report,
    serve,
    umount,
)
from tests.support.map_shares import contents, snapshot

KINDS = OtherVolumes(v1=6, v1_in_place=6, v0=6, v2=6, half_renamed=6, locks=2, lock_dir=True)


def mapfiles(share: Path, *options: object) -> dict[str, Any]:
    """Run mapfiles on a share, and return its results by volume with how it ended."""
    words = ("--maps", share / "maps", "--locks", share / "locks", "--sizes", share / "sizes.csv")
    return ended("mapfiles", "--json", "--no-progress", *words, *options)


def kinds(version: str) -> None:
    """Upgrade volumes of all kinds on the mount, and put them back; the same on a local disk."""
    serve()
    local, share = ROOT / "local", EXPORT / "share"
    for place in (local, share):
        make_share(str(place), objects=0, volumes=0, others=KINDS)
    before = contents(snapshot(share))
    report("local", mapfiles(local))
    mount(version)
    report("dry run", mapfiles(MOUNT / "share", "-n"))
    report("untouched", contents(snapshot(share)) == before)
    report("upgrade", mapfiles(MOUNT / "share"))
    report("as local", contents(snapshot(share)) == contents(snapshot(local)))
    report("undo", ended("undo", "--json", "--no-progress"))
    report("as before", contents(snapshot(share)) == before)


def costs(version: str, volumes: int) -> None:
    """Count the calls of a survey of maps that are v2 already, and of upgrades."""
    serve()
    share = MOUNT / "share"
    for name, others, options in (
        ("survey", OtherVolumes(v2=volumes, objects=3), ("-n",)),
        ("upgrade", OtherVolumes(v1=volumes, objects=3), ()),
    ):
        size = make_share(str(EXPORT / "share"), objects=0, volumes=0, others=others)
        (EXPORT / "share/sizes.csv").touch()
        mount(version, KEEP_ATTRIBUTES)
        with calls() as made:
            done = mapfiles(share, *options)
        umount()
        report(name, {**done, "calls": made, "files": size.files, "directories": size.directories})
        shutil.rmtree(EXPORT / "share")


def refused(version: str) -> None:
    """Run where nothing may be changed, by a squashed root and by a read-only export."""
    serve()
    make_share(str(EXPORT / "share"), objects=0, volumes=0, others=OtherVolumes(v1=5, v0=1))
    for path in (EXPORT, *EXPORT.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = contents(snapshot(EXPORT / "share"))
    for name, options in (("squashed", "rw,root_squash"), ("read-only", "ro,no_root_squash")):
        export(options)
        mount(version)
        report(name, mapfiles(MOUNT / "share", "--fresh"))
        umount()
    report("untouched", contents(snapshot(EXPORT / "share")) == before)
