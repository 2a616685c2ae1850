"""The program `blockyard`, also as `python -m blockyard`: what lies in the current folder is data, not code."""

import os
import sys

if sys.path and sys.path[0] in ("", os.getcwd()):  # put there by `-m`; our own modules are found without it
    del sys.path[0]

from blockyard.core import interrupt

interrupt.own()  # before all that takes time

from blockyard.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
