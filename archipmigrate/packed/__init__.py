"""The two packed buffers that pass between engine, journal and backends: groups and changes.

Both are little-endian. Python (here) and C (`native/core/groups.c`, `changes.c`) read and write the
same bytes.
"""
