"""Configuration files of v0.3 and v0.4: read, checked, converted, edited.

    ini      INI files as Python 2's ConfigParser reads them, with line numbers
    blocker  where a blocker's files are and whose: what jobs take from v0.4's file
    v04      what v0.4 reads: sections, options, and what each takes
    findings, host  what was found; what a host has of what a file names
    check    what v0.4 would choke on, or silently ignore
    v03      v0.3's file, which is Python 2, read without being executed
    convert  v0.3's values as a file of v0.4
    edit     options changed in place; comments and order stay
    files    files read and replaced as a whole

Knows nothing of shares. Nothing here prints.
"""
