"""What objects are called, and the directory in which v0.4, v0.3 or Pithos keeps each. Pure.

Names are those of files, with any prefix; directories are those below a blocker's.

names      maps, their blocks and locks, data objects
placement  the directory of a name
"""
