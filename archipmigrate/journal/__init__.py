"""What outlives the process: runs, their frontier, pre-images, outcomes and tallies.

`location` keeps the state directory safe, `lock` two runs apart; `store` is one run's journal,
`sealed` the checksummed blobs in it; `runs` finds runs by share and name.
"""
