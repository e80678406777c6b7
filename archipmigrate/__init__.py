"""archipmigrate: brings an Archipelago share from v0.3 to what v0.4 expects.

The map of the program, from the bottom up; a room imports only from rooms above it in this list:

    errors, model  errors that end a run; the values that pass between the rooms
    policy         pure: which mode and group an entry must have
    packed/        pure: the packed buffers of units and changes
    share/         what the user named, a URL or a directory: its filesystem and identity, and
                   whether the server of a mounted one is spoken to past the mount
    tree           files of a share by names that follow no link
    backend/       what touches attrs: scan and apply, in Python and in C (native/); below a mount,
                   or by calls to an NFS server
    journal/       what outlives the process: runs, frontier, pre-images, outcomes
    engine/        runs any job: lanes, checkpoints, group commit, signals
    ui/            what people and scripts see
    jobs/          what all jobs have in common
    perms/         the job that gives a share to a group (also verify), and its undo
    maps/          the job that brings mapfiles to v2, and its undo
    testshare/     sample shares
    cli/           options and wiring, one module a command
"""

__version__ = "0.1.0"
