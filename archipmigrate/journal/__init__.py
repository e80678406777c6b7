"""What outlives the process: runs, their frontier, pre-images, outcomes and counts.

location     where the state directory is, and that it is safe
lock         keeps two runs on one share apart
runs         finds, makes and forgets runs
store        the journal of one run
counting     the rule by which entries are counted
database     the SQLite file below it, changed in durable transactions only
checksummed  blobs in it
integers     64-bit numbers in SQLite
"""
