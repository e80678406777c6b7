"""The survey: which files there are, in the journal, and which volumes they make.

walk         lists directories, unit by unit
classify     what one file is, by its name, its directory and its first bytes
packed_head  what was read of a map, as the journal has it
judge        from files to volumes with a result or a plan, once all is found
"""
