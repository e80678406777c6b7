"""The two packed buffers that pass between engine, journal and backends: groups and changes.

Both are little-endian and written and read alike by Python (here) and C (`native/core/frames.c`).
"""
