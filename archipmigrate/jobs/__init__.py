"""What all jobs have in common.

kind      the record that the program has of a kind of job, and what it opens for a session
registry  the kinds there are, by name; the only place that knows run names and undo runs
options   how a session works: what is no part of a job's settings
ended     how a session ended, from which summaries are worded
lanes     how many lanes serve a share, and through which backend
outcome   the outcome of a batch, as journals keep it
"""
