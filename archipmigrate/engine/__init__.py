"""The engine: runs any job, cut into units, over a journal. `run` has the lanes; see its module."""
