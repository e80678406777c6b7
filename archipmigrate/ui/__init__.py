"""What people and scripts see.

report    prints what a session reports, as text or JSON lines
progress  the progress line
summary   what the summaries of all jobs have in common
causes    groups failures and notices by cause
text      words, numbers and paths for people
"""
