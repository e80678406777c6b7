"""Objects get their second names while v0.3 still runs: the job `prelink`, in phases.

phases     the phases of a run, and which one may follow which; pure
actions    what is done with one object, packed
judge      what has become of an object since it got its second name; pure
tables     the job's tables; known: what the lanes read of them
walk       looks at the old places, and says what is to be done
keep       the directory of the run's own, for what leaves its place
steps      does actions; maps: those with maps
job        the job
undo       the undo of phase 1: second names go
settings   what a run is begun with
kind       the job as a kind
report     the lines and the summary that users see

In all phases but 4 nothing is removed from an old place but maps, which are copied before. So the
way back to v0.3 is a matter of maps.
"""
