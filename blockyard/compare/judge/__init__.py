"""What the figures of the runs say, and how sure that is."""
