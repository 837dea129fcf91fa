"""The site that `make docs` builds from docs/*.md: Sphinx with MyST."""

project = "diffjax"
copyright = "the diffjax authors"
html_title = "diffjax"
html_theme = "furo"
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 3
