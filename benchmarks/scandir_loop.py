"""What one would write first: a single-pass os.scandir loop. `scandir_loop DIR GID`.

Unsafe (paths are resolved twice) and without a journal: a yardstick, not an example.
"""

import os
import stat
import sys


def main(top: str, gid: int) -> None:
    """Give the tree to the group."""
    _directory(top, gid)
    todo = [top]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _directory(entry.path, gid)
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_gid != gid or found.st_mode & 0o060 != 0o060:
                        os.chown(entry.path, -1, gid, follow_symlinks=False)
                        os.chmod(entry.path, stat.S_IMODE(found.st_mode) | 0o060)


def _directory(path: str, gid: int) -> None:
    found = os.lstat(path)
    if found.st_gid != gid or found.st_mode & 0o2070 != 0o2070:
        os.chown(path, -1, gid, follow_symlinks=False)
        os.chmod(path, stat.S_IMODE(found.st_mode) | 0o2070)


main(sys.argv[1], int(sys.argv[2]))
