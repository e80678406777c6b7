"""archipmigrate: brings an Archipelago share from v0.3 to what v0.4 expects.

The map of the program, lowest layer first; each room imports only from rooms listed before it:

    errors, model  errors that end a run; the values that pass between the rooms
    modes          pure: modes as chmod reads them
    numerals       pure: numbers as people write them
    policy         pure: which mode, owner and group an entry must have
    config/        configuration files of v0.3 and v0.4: read, checked, converted, edited
    packed/        pure: the packed buffers of units and changes
    share/         what the user named, a URL or a directory: its filesystem and identity, and
                   whether the server of a mounted one is called directly, past the mount
    tree/          files of a share, by names that follow no link
    layout/        pure: names of objects, and the directory in which each is kept
    backend/       what touches attrs: scan and apply, in Python and in C (native/); through a
                   mount, or by calls to an NFS server
    journal/       what outlives the process: runs, frontier, pre-images, outcomes
    engine/        runs any job: lanes, checkpoints, group commit, signals; the only room with trio
    ui/            what people and scripts see
    jobs/          what all jobs have in common, and the registry of their kinds
    perms/         the job that gives a share to a group (also verify), and its undo
    maps/          the job that brings mapfiles to v2, and its undo
    relocate/      the job that moves objects to where v0.4 looks, and its undo
    prelink/       the job that gives blocks second names while v0.3 runs, in phases
    locks/         the job that removes locks which nobody can hold any more, and its undo
    testshare/     sample shares
    session/       sessions of any job: which run, which locks, which journal, how the share is
                   reached; takes values, so it is what a program may call
    check/         is a site ready: for v0.4, and for the jobs
    guide/         the upgrade guide as a checklist for a site
    cli/           options and wiring, one module a command
"""

__version__ = "0.1.0"
