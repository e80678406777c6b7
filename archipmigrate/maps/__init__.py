"""The maps of volumes: all that the program knows of them, and nothing else does.

format/      pure: contents of map files, where they may lie, the verdict on a volume
config, ini  pure: the blocker's configuration
journal/     what a run over maps has beside the engine's tables: files, volumes, sizes, old maps
blocker/     touches maps and locks, one volume at a time: prepare, upgrade, restore
survey/      finds all files, and the volumes that they make
jobs/        the upgrade and its undo, as the engine runs them
settings     what must be the same for a run to be resumed
locate       where maps and locks are
open         opens them for a run
report       results for people and scripts
kind         what the program knows of the upgrade as a kind of job

Each imports only from those before it.
"""
