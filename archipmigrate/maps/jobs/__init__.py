"""The jobs over maps, as the engine runs them.

upgrade   every volume's map to v2; also the survey alone, and the dry run
undo      the old maps of such a run back
units     what a unit's body is
scan      the scan of a unit of volumes
outcomes  what became of the volumes of a unit, for the engine and the journal's tables
"""
