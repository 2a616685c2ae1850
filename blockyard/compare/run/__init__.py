"""The runs: processes, training and scoring of each, tuning, and the folder that keeps them."""
