"""Sample shares: trees of files like those of a real Archipelago share, to try things out on.

The same arguments give the same names, bytes and modes, whatever the umask. Objects are stand-ins:
a few bytes each instead of 4 MiB.

    DIR/blocks/    the objects, archip_<64 hex digits>
    DIR/maps/      the volumes' v1 maps, archip_vol000000 and so on, which refer to the objects;
                   volumes of other kinds, which refer to objects that do not exist
    DIR/locks/     empty, or locks on some of these
    DIR/sizes.csv  the sizes of v0 volumes, if there are any

make    makes a share: its objects, and the volumes that v0.3 left behind
others  volumes of other kinds, and locks
tree    writes files, and the directories above them
"""

from .make import ShareSize, make_share
from .others import MapPlacement, OtherVolumes
from .tree import Layout, RefusedDirectory

__all__ = [
    "Layout",
    "MapPlacement",
    "OtherVolumes",
    "RefusedDirectory",
    "ShareSize",
    "make_share",
]
