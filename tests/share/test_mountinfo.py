"""What /proc/self/mountstats tells of a mount."""

from __future__ import annotations

import pytest

from archipmigrate.share.mountinfo import Mount, age_of

STATS = r"""device proc mounted on /proc with fstype proc
device server:/export mounted on /srv/archip with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2,rsize=1048576
	age:	1234
	caps:	caps=0x3fffbfff,wtmult=512
	sec:	flavor=1,pseudoflavor=1
	xprt:	tcp 691 0 1 0 1 34 34 0 34 0 2 0 0
device server:/a\040b mounted on /mnt/x\040y with fstype nfs statvers=1.1
	age:	7
device /dev/sda1 mounted on / with fstype ext4
device server:/twice mounted on /twice with fstype nfs statvers=1.1
	age:	90
device server:/twice mounted on /twice with fstype nfs statvers=1.1
	age:	3
device server:/silent mounted on /silent with fstype nfs statvers=1.1
""".splitlines(keepends=True)


@pytest.mark.parametrize(
    ("fstype", "source", "point", "age"),
    [
        ("nfs4", "server:/export", "/srv/archip", 1234),
        ("nfs", r"server:/a\040b", r"/mnt/x\040y", 7),
        ("nfs", "server:/twice", "/twice", 90),
        ("nfs", "server:/silent", "/silent", None),
        ("nfs", "server:/export", "/srv/archip", None),
        ("nfs4", "server:/export", "/srv", None),
        ("ext4", "/dev/sda1", "/", None),
    ],
)
def test_age_is_that_of_the_mount_of_this_source_and_point(
    fstype: str, source: str, point: str, age: int | None
) -> None:
    assert age_of(Mount(fstype, source, "rw", point), STATS) == age
