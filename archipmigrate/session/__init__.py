"""Sessions of jobs of any kind: new runs, dry runs, resumed runs, undos.

work   begins, resumes and undoes runs: one session each, from the lock to the result
open   state directory, locks of a share's roots, journals, the share of an earlier run
find   which run is meant: by its name, or the latest that fits
reach  whether an NFS share is reached directly or through its mount

All take values, and report to a `Reporter`; nothing is printed here.
"""
