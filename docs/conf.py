"""The site: `sphinx-build -W --keep-going docs site`. See CONTRIBUTING.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `extension`

from extension.repository import linkcode_resolve  # noqa: F401

import scratchvae

project = "scratchvae"
author = "The scratchvae developers"
project_copyright = author
release = scratchvae.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "extension.mathml",
    "extension.repository",
    "extension.docstrings",
    "extension.gallery",
    "extension.xrays",
    "extension.ops",
]
# Pages in .md are also read on GitHub; those in .myst are only for the site, or made by extensions.
source_suffix = {".md": "markdown", ".myst": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_examples", "sg_execution_times.rst"]
default_role = "code"  # `name` in docstrings
highlight_language = "none"  # of indented blocks: commands and formulas

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https", "mailto", "repo", "site")
myst_update_mathjax = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "_examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "reset_argv": "extension.gallery.arguments",
    "within_subsection_order": "extension.gallery.ReadingOrder",
    "image_scrapers": ("extension.gallery.pictures",),
    "default_thumb_file": str(Path(__file__).with_name("samples.png")),
    "capture_repr": (),
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e6,  # how long they take depends on the machine
    "write_computation_times": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = "scratchvae"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_search_summary = False  # it fetches pages, which a browser refuses in a folder
html_show_sphinx = False
