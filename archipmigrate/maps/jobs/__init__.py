"""The jobs over maps, as the engine runs them.

upgrade   every volume's map to v2; also the survey alone, and the dry run
undo      the old maps of such a run back
units     the bodies of units
pace      how many volumes are upgraded together
scan      the scan of a unit of volumes
outcomes  the outcomes of a unit's volumes, for the engine and the journal's tables
"""
