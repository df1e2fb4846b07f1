"""tl-demo: the complete workflow for one liquid, small but real, by the same commands that a user types."""
