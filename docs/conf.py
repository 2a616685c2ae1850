"""How Sphinx builds these pages: `python -m sphinx -W -b html docs build/docs`."""

import blockyard

project = "blockyard"
author = "the blockyard contributors"
copyright = author
release = version = blockyard.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "blockyard"
myst_heading_anchors = 2
