"""The Debian packages that tests of NFS need; a test without them is skipped, or fails in CI."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Mapping

import pytest

from tests.support.program import MISSING

SYSTEM = ":/usr/sbin:/sbin"  # not in the PATH of every user
# Package -> a program in it, or a pattern of its files.
GUEST = {
    "user-mode-linux": "linux.uml",
    "busybox-static": "busybox",
    "e2fsprogs": "mkfs.ext4",
    "iproute2": "tc",
    "kmod": "modprobe",
    "nfs-common": "mount.nfs",
    "nfs-kernel-server": "nfsdcld",
    "rpcbind": "rpcbind",
}
GANESHA = {
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdlib.h",
    "nfs-ganesha": "ganesha.nfsd",
    "nfs-ganesha-vfs": "/usr/lib/*/ganesha/libfsalvfs.so",
}
CLIENT = {"libnfs-utils": "nfs-ls"}


def require(packages: Mapping[str, str]) -> None:
    """Skip the test, with the command to type, unless all packages are installed; in CI fail."""
    if missing := absent(packages):
        MISSING.update(missing)
        # In runlevel 1 the packages do not start their servers.
        message = f"RUNLEVEL=1 apt-get install --no-install-recommends {' '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def absent(packages: Mapping[str, str]) -> list[str]:
    """Return the packages that are not installed."""
    return sorted(package for package, mark in packages.items() if not _there(mark))


def _there(mark: str) -> bool:
    if mark.startswith("/"):
        return bool(glob.glob(mark))
    return shutil.which(mark, path=os.environ.get("PATH", "") + SYSTEM) is not None
