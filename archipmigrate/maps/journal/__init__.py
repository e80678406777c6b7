"""What a run over maps keeps: `tables` of files and volumes, `sizes` of v0 maps, `kept` old maps.

`pithos` reads sizes from CSV or from Pithos' database.
"""
