"""What administrators use: shell commands, to be filled in with `share` and `gid`."""

from __future__ import annotations

GID = "54321"
TRIPLE = (
    "chgrp -R {gid} {share}; chmod -R g+rwX {share}; find {share} -type d -exec chmod g+s {{}} +"
)
FIND_PLUS = (
    "find {share} -type d -exec chmod g+rwxs {{}} +; find {share} -type f -exec chmod g+rw {{}} +; "
    "find {share} -type d -exec chgrp {gid} {{}} +; find {share} -type f -exec chgrp {gid} {{}} +"
)
GUIDE = FIND_PLUS.replace(" +", " \\;")
