"""A token through a whole model as one list of instructions."""
