"""Where benchmarks run: a new filesystem in an image of its own, memory, or a plain directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CACHES = Path("/proc/sys/vm/drop_caches")
IMAGE = 6 << 30  # bytes, sparse
# Otherwise the kernel would still write inode tables while contestants run.
INIT = "lazy_itable_init=0,lazy_journal_init=0"
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-i", "8192", "-E", INIT),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "tmpfs": (),
}
HERE = "here"  # no filesystem of its own


class Unavailable(Exception):
    """Something cannot be measured here; says why."""


@contextlib.contextmanager
def filesystem(name: str, top: Path) -> Iterator[Path]:
    """Mount a new filesystem below *top*, which has room for the image; unmount it in the end.

    `here` is *top* itself. Raises Unavailable if the filesystem cannot be made, or mounted.
    """
    if name == HERE:
        yield top
        return
    if os.geteuid() != 0:
        raise Unavailable("mounting needs root")
    at, image = top / "mnt", top / "image"
    at.mkdir()
    if make := MAKE[name]:
        if shutil.which(make[0]) is None:
            raise Unavailable(f"needs {make[0]}")
        with image.open("wb") as file:
            file.truncate(IMAGE)
        subprocess.run([*make, image], check=True)
        source = ["-o", "loop", str(image)]
    else:
        source = ["-t", "tmpfs", "-o", "size=90%,nr_inodes=0", "tmpfs"]
    mounted = subprocess.run(["mount", *source, at], check=False, capture_output=True, text=True)
    if mounted.returncode:
        raise Unavailable(f"{name} cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)  # also if a contestant still runs
        at.rmdir()
        image.unlink(missing_ok=True)


def drop_caches() -> None:
    """Write what is dirty, and forget names, inodes and data. Raises Unavailable if not allowed."""
    os.sync()
    try:
        CACHES.write_text("3")
    except OSError as error:
        raise Unavailable(f"a cold cache needs {CACHES}: {error.strerror}") from error
