"""The upgrade guide as a checklist for a site: which steps remain, in order, with commands.

    facts   what is known of the site: configurations, findings of a check, runs
    step    a step: where, what, why, commands
    plan    pure: the steps that remain; files, then RADOS
    nodes   pure: the steps that are done on nodes
    back    pure: where the way back begins, and the undos in their order
    page    all that as text, or as JSON

It looks, as a check does, and executes nothing.
"""
