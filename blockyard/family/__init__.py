"""Kinds of functions that a context can be about, each with what can be known of one of them from examples."""
