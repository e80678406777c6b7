"""Maps of volumes, all about them.

format/      pure: what is in a map, what it is called, where it lies, what is right about it
config, ini  pure: the blocker's configuration
journal/     what a run over maps keeps beside the engine's tables: files, volumes, sizes, old maps
blocker/     what touches maps and locks: prepare, upgrade, restore
survey/      which files and volumes there are
jobs/        the upgrade and its undo, as the engine runs them
settings     what must be the same for a run to be resumed
locate, open where maps and locks are; opens them for a run
report       results for people and scripts
kind         what the program knows of the upgrade as a job

Each imports only from those before it.
"""
