"""Objects to where v0.4 looks for them: the job `relocate`, and its undo.

classify   what a file is, by its root, directory, name and size; pure
roots      the directories of blocks and maps, and the directories that are made in them
compare    whether two files are equal
described  two files of one name, in words
extents    where the data of a file is
copying    a copy of a file
survey     walks the directories: what is listed and what is to be moved goes into the journal
outside    looks for volumes that lie above the maps
ways       how an object gets to its new place: moved, carried or copied
borders    which places lie on one filesystem
tables     the job's tables there
units      the bodies of its units
places     where v0.3, v0.4 and Pithos put an object, as paths
mover      moves objects, forward and back
carry      the same for what goes to another filesystem, or is copied
steps      how far an object is on its way; batch: works off a batch in two halves
missing    looks for the objects that v1 maps name
job        the job
undo       the undo
returnable whether a run may be undone
room       whether there is room for new directories and copies
settings   what a run is begun with; locate: from a configuration or from directories
opened     opens the directories of a run
kind       the job as a kind
overlay    puts together the two files of a diverged object
diverged   the job that does so, for a volume; diverged_kind: as a kind
prune      the job that removes empty directories; prune_kind: as a kind
report     the lines and the summary that users see
"""
