"""Permissions: give every entry of a share to a group (`job`), and put all back (`undo`).

kind     what the program knows of the job, and of `verify`
settings what must be the same for a run to be resumed
words    summaries
chosen   which changes of a batch are put back, in Python and in C; `batches` loads them
ending   how the entries of a unit of an undo end, counted
retried  which entries were tried several times: `undo` puts them back attempt by attempt
find     which entries have other names by now: `undo` seeks them
pairs    blocks whose second name is a run's own: no hard links
plan     what a dry run would change, in a file; `transitions` counts it, `differences` compares
set_id   which files get their set-id bits back, last of all
"""
