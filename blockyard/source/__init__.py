"""Sources: from what a user named with `--data` to data that a task can be asked of.

    data = read(["my.csv"], ("table",))         by the first source that takes these paths and gives what is wanted

A source is a file with one class; its name, what it gives and which files it takes stand in its head, so that nothing
is loaded before it reads.
"""

from blockyard.source._base import Source, read

__all__ = ["Source", "read"]
