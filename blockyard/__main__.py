"""`python -m blockyard` is `blockyard`: what lies in the current folder is data, not code."""

import os
import sys

if sys.path and sys.path[0] in ("", os.getcwd()):  # put there by `-m`; our own modules are found without it
    del sys.path[0]

from blockyard.cli import main

sys.exit(main())
