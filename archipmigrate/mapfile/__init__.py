"""Mapfiles: the formats of maps, and where a file of a given name lies. Pure: touches no file."""
