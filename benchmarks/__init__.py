"""What the program costs, against what else does the job; `make bench` runs `__main__`.

Measured by this package's own program, saved as JSON in `results/`, shown in docs/benchmarks.md:

contest       perms against everybody else, turn by turn, each checked; who they are: contestants
nfs_kernel    the same on NFS mounts, in a guest, which runs nfs_programs
growth        time, memory, journal, resuming, by size
beside        what a run costs a VM's disk; load.c is the VM
places        filesystems to measure on
results       files of what was measured, with machine and versions
report        makes docs/benchmarks.md; pictures draws its pictures

Measured by pytest-benchmark (bench_*.py): codecs, mapfiles, relocate, calls in flight. measure runs
programs for all of them.

Yardsticks: limit.c, relocate.c, scandir_loop, trio_loop, map_loops, relocate_loop.
"""
