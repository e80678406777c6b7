"""The locks of maps: list them, remove those that nobody can hold any more, and put them back.

lock       one lock: where it lies, its attrs and content; packed for the journal
classify   pure: whose lock it is, and whether somebody may hold it
runs       which locks of our own belong to a run that may still need them
roots      the maps directory and the lock directory, open
survey     walks both
remover    removes locks, and makes them again
tables     what is listed, in the journal
job, undo  the job, and what takes it back
adopt      makes the lock directory as v0.4 needs it; no job
"""
