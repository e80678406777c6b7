"""Maps of volumes: everything that belongs to them.

format/     pure: what is in a map, what it is called, where it lies, what is right about it
config, ini the blocker's configuration
journal/    what a run over maps keeps beside the engine's tables: volumes, sizes, old maps
blocker/    what touches maps and locks: survey, upgrade, restore
jobs/       the upgrade and its undo, as the engine runs them
report      results for people and scripts
"""
