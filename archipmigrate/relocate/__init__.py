"""Objects to where v0.4 looks for them: the job `relocate`, and its undo.

classify   what a file is, by its root, directory, name and size; pure
roots      the directories of blocks and maps, and the directories that are made in them
compare    whether two files are equal; a copy of one
survey     walks both directories: what is listed and what is to be moved goes into the journal
tables     the job's tables there
units      the bodies of its units
places     where v0.3, v0.4 and Pithos put an object, as paths
mover      moves objects, forward and back
missing    looks for the objects that v1 maps name
job        the job
undo       the undo
returnable whether a run may be undone
room       whether there is room for the new directories
daemons    nothing is moved while v0.3 runs here
settings   what a run is begun with; locate: from a configuration or from directories
kind       the job as a kind
report     the lines and the summary that users see
"""
