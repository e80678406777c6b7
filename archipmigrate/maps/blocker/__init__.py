"""The file blocker's directories, as an administrator's tool may touch them: maps and locks.

tree      directories and files below an open root, no link followed, all that is made durable
locks     the blocker's lock protocol
look      what a file is, and what the files of one volume are
survey    the walk over all files
record    the pre-image of one volume's upgrade
upgrade   one volume from v1, v0 or a half-done rename to v2
restore   and back
"""
