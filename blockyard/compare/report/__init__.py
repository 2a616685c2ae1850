"""The outcome as one document, in words, as a table for a terminal and as a page."""
