"""Sample shares: trees of files like those of a real Archipelago share, to try things out on.

The same arguments give the same names, bytes and modes, whatever the umask. Objects are stand-ins:
a few bytes each instead of 4 MiB.

As v0.4 would have them (`make_share`):

    DIR/blocks/    the objects, archip_<64 hex digits>
    DIR/maps/      the volumes' v1 maps, archip_vol000000 and so on, which refer to the objects;
                   volumes of other kinds, which refer to objects that do not exist
    DIR/locks/     empty, or locks on some of these
    DIR/sizes.csv  the sizes of v0 volumes, if there are any

As v0.3 left them (`make_v03_share`): see v03.

make      makes a share: its objects, and the volumes that v0.3 left behind
others    volumes of other kinds, and locks
contents  what the volumes of a v0.3 share contain
v03       makes a share as v0.3 left it
tree      writes files, and the directories above them
"""

from .make import ShareSize, make_share
from .others import MapPlacement, OtherVolumes
from .tree import Layout, RefusedDirectory
from .v03 import make_v03_share

__all__ = [
    "Layout",
    "MapPlacement",
    "OtherVolumes",
    "RefusedDirectory",
    "ShareSize",
    "make_share",
    "make_v03_share",
]
