"""What touches a share's maps and locks.

files         many files at once: made, linked, removed; in Python or in C
locks         the lock protocol of `filed`
volume_files  the files of one volume, and what a single file is as a map
preimage      what a volume was, and which of its files an upgrade removes or overwrites
store         a share's maps and locks, and the run that works on them
entries       the entries of maps, converted to v2
objects       where the objects of a volume lie
content       the whole content of a volume
keep          make a volume's pre-image, and keep the files that go away
prepare       judge a volume, under its locks
retained      the locks that go from a scan to its apply
put           put files under their names, and remove them, durably
standing      how far an upgrade came
upgrade       one volume from v1, v0 or a rename that was cut off to v2
together      many small ones together
restore       and back
"""
