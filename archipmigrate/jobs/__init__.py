"""What all jobs have in common."""
