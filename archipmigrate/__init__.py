"""archipmigrate: brings an Archipelago share from v0.3 to what v0.4 expects.

The map of the program, from the bottom up; a room imports only from rooms above it in this list:

    errors, model      errors that end a run; the values that pass between the rooms
    policy, mapfile/   pure: which mode and group an entry must have; formats and placement
    frames             pure: the packed buffers of units and changes
    remote, share      what the user named, a URL or a directory: its filesystem and identity
    direct             whether and how the server of a mounted share is spoken to past the mount
    backend/           what touches attrs: scan and apply, in Python and in C (native/); below
                       a mount, or by calls to an NFS server
    journal/           what outlives the process: runs, frontier, pre-images, outcomes
    testshare/         sample shares
    blocker/           what touches maps and locks: survey, upgrade, restore
    engine/            runs any job: lanes, checkpoints, group commit, signals
    jobs/              what a unit is, for each job: perms (also verify), mapfiles, and their undo
    ui/                what people and scripts see
    cli/               options and wiring, one module a command
"""

__version__ = "0.1.0"
