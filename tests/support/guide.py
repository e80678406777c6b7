"""The upgrade guide's commands, as they are written there."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.program import GID, need

# "Adjust NFS shares permissions", D for the share.
GUIDE = (
    ("find", "D", "-type", "d", "-exec", "chmod", "g+rwxs", "{}", ";"),
    ("find", "D", "-type", "f", "-exec", "chmod", "g+rw", "{}", ";"),
    ("chgrp", str(GID), "D"),
    ("find", "D", "-type", "d", "-exec", "chgrp", str(GID), "{}", ";"),
    ("find", "D", "-type", "f", "-exec", "chgrp", str(GID), "{}", ";"),
)


def follow_guide(share: Path) -> None:
    """Run the guide's commands on a share."""
    for command in GUIDE:
        words = [str(share) if word == "D" else word for word in command]
        subprocess.run([need(words[0]), *words[1:]], check=True, capture_output=True)
