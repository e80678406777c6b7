"""The engine: runs any job, cut into units, over a journal.

job          the contract between the engine and a job: read this first
session      the life of one session: begin, work off, end
crew         the tasks that take units, and how many there are
lane         what a task does with one unit: scan, durable, apply, finish
finish       what is written when a unit is finished
settle       what a killed session left is settled first
frontier     units that wait
scopes       wide directories that are being read
commit       group commit: the one writer of the journal
throttle     how large the next unit may be, and how long it waits; feeds
controllers  lanes, --max-ops and back-off (pure)
limits       the size of units (pure)
stop         when a run stops early (pure)
halt, signals, threads, loop   small things of trio
"""
