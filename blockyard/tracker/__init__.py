"""Who is told of a run while it goes on: one file a tracker, an adapter to a library that keeps logs."""
