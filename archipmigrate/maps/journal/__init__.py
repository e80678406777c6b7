"""What a run over maps keeps beside the engine's tables.

tables    the files that the survey found, and the result of every volume
old_maps  the contents of old maps, for undo
sizes     the sizes of v0 maps
pithos    where sizes come from: CSV, or Pithos' database
"""
