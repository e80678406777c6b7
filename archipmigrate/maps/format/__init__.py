"""Mapfiles: formats, which directory a file is in, what v0.4 is told. Pure: touches no file."""
