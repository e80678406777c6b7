"""What all jobs have in common.

kind      what the program must know of a kind of job, and what one opens for a session
registry  the kinds by name, and which one a run is of; only this room compares names
options   how a session works: what is no part of a job's settings
ended     how a session ended, from which summaries are worded
lanes     how many lanes serve a share, and through which backend
outcome   the outcome of a batch, as journals keep it
"""
