"""What an async program would write first: one `trio.to_thread` a file. `trio_loop DIR GID`.

Unsafe (paths are resolved twice) and without a journal: a yardstick, not an example.
"""

import os
import stat
import sys

import trio

LIMIT = 40  # files at once; as many threads as trio allows by itself


async def main(top: str, gid: int) -> None:
    """Give the tree to the group."""
    room = trio.CapacityLimiter(LIMIT)

    async def give(path: str, bits: int) -> None:
        await trio.to_thread.run_sync(_give, path, gid, bits, limiter=room)

    todo = [top]
    while todo:
        directory = todo.pop()
        await give(directory, 0o2070)
        async with trio.open_nursery() as nursery:
            for entry in await trio.to_thread.run_sync(_entries, directory):
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    nursery.start_soon(give, entry.path, 0o060)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        return list(entries)


def _give(path: str, gid: int, bits: int) -> None:
    found = os.lstat(path)
    if found.st_gid != gid or found.st_mode & bits != bits:
        os.chown(path, -1, gid, follow_symlinks=False)
        os.chmod(path, stat.S_IMODE(found.st_mode) | bits)


trio.run(main, sys.argv[1], int(sys.argv[2]))
