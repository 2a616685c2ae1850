"""`python -m blockyard` is `blockyard`."""

import sys

from blockyard.cli import main

sys.exit(main())
