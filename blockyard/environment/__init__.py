"""Little worlds to act in, each with all that can happen, so that the best return is known."""
