"""Settings of the site: `sphinx-build -W -n docs build/site` builds it, without a network."""

import builtins
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import gallery_pictures  # noqa: E402
import generated  # noqa: E402

import dropstats  # noqa: E402

generated.write(HERE)

project, author, version = "dropstats", "the dropstats developers", dropstats.__version__
release, copyright = version, author

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["frameworks.py", "gallery/*.ipynb", "gallery/*.py", "explorer"]
templates_path = ["_templates"]
nitpicky = True
default_role = "code"
highlight_language = "python"
suppress_warnings = ["config.cache"]  # the scraper of the gallery is a function, which is not pickled

# the examples of a notebook are run by the tests; here they are shown with the outputs that it holds
nb_execution_mode = "off"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

autodoc_typehints = "none"  # the docstrings say the types, with shapes and units
autodoc_member_order = "groupwise"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False


def where_it_is(gallery_conf, script):
    """Give a script of the gallery the `__file__` that it has everywhere else."""
    builtins.__file__ = str(Path(script).resolve())


sphinx_gallery_conf = {
    "examples_dirs": ["../figures"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"[0-9][0-9]_",
    "ignore_pattern": r"make\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": [gallery_pictures.scraper],
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "matplotlib_animations": False,
    "reset_modules": (where_it_is,),
}

html_theme = "pydata_sphinx_theme"
html_title = "dropstats"
html_static_path = ["_static"]
html_css_files = ["dropstats.css"]
html_show_sourcelink = False
_ALONE = ("index", "start", "tutorial", "museum", "theory", "articles", "extending", "changelog")
html_sidebars = {page: [] for page in _ALONE}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def only_what_is_there(app, docname, source):
    """Leave out entries of the two tables of contents that end in `?` where there is no such page."""
    if docname not in ("index", "guide"):
        return
    there = {path.stem for path in HERE.glob("*.*")}
    entry = re.compile(r"^(.*?)(\w+)(>?)\?$", re.MULTILINE)
    source[0] = entry.sub(lambda m: "".join(m.groups()) if m[2] in there else "", source[0])


def copy_the_explorer(app, exception):
    """Put the page to play with beside the others; it is a file of its own."""
    if exception is None and app.builder.format == "html":
        shutil.copytree(HERE / "explorer", Path(app.outdir) / "explorer", dirs_exist_ok=True)


def setup(app):
    """Connect the two functions above."""
    app.connect("source-read", only_what_is_there)
    app.connect("build-finished", copy_the_explorer)
