"""Is a site ready for v0.4, and for the jobs that bring it there? Looks only, but for one probe.

finding    what was found: topic, level, text, what to do, and the figures; exit statuses
site       where blocks, maps and locks are, whose they should be; by configuration or directory
question   what is asked: the site, hosts, whether to walk and to probe
topics     the plain list of topics, and `findings`, which goes through it

mounted    mounted and not empty                filesystem  one filesystem, nothing leads out
nfs        version and options of the mount     squash      may root chown and chmod there?
accounts   user and group, here, on hosts       daemons     of v0.3 and v0.4, here
runs       unfinished runs                      extension   whether the C extension is there
acls       default ACLs, owners: of a few       locks       by whom they were left
objects    by place (a walk)                    maps        by version (a walk)
entries    what perms would change (a walk)     room        inodes and bytes that are needed

volumes    every object of every volume; digests recorded and compared (hashing, sums)

before     the short form: what a job looks at before it begins
page       findings as text and JSON

A topic is a function that yields findings. It never raises for what it finds, only if the check
itself cannot go on.
"""
