"""The survey: which files there are, in the journal, and which volumes they make.

walk         lists directories, unit by unit
plain        the same in C, of what is plain
classify     what one file is, by its name, its directory and its first bytes
packed_head  packs a map's head for the journal
judge        from files to volumes with a result or a plan, once all is found
"""
