"""Names below an open root, for any job that makes or removes files; no symbolic link is followed.

beneath  open a path below a directory; needs the standard library only
files    directories and files, made durably
"""
