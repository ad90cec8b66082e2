"""The site: `make docs` builds it from the repository alone, offline; a warning is an error.

Sphinx with sphinx-gallery, since a gallery of executed examples and an API whose pages link back to them are its work
(scikit-learn, POT and skada are built so); MkDocs has no such links. Pages are Markdown (MyST).
"""

import sys
import warnings
from pathlib import Path

from sphinx.ext import autosummary
from sphinx_gallery.sorting import ExplicitOrder

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

from jointadapt import __version__  # noqa: E402

project = "jointadapt"
author = "The jointadapt developers"
copyright = "The jointadapt developers, MIT licence"  # noqa: A001 (Sphinx's name)
version = release = __version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "formulas",
    "mathml",
    "options_table",
    "plain_signatures",
    "repository_links",
    "short_names",
]
exclude_patterns = ["_build", "_extensions", "_templates"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]  # sphinx_gallery_conf holds classes, which Sphinx cannot pickle

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

default_role = "py:obj"
toc_object_entries_show_parents = "hide"
autosummary.WELL_KNOWN_ABBREVIATIONS += ("Eq.", "Sec.", "et al.,")  # a summary doesn't end at these
add_module_names = False
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "set_fit_request, set_score_request, get_metadata_routing",  # scikit-learn's own words
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
napoleon_numpy_docstring = False
maximum_signature_line_length = 90

# The gallery's sections and examples, in the order in which they are read.
SECTIONS = {
    "first_steps": [
        "first_adaptation",
        "own_folders",
        "choosing_without_labels",
        "reading_a_report",
        "exporting_a_model",
    ],
    "joint_adaptation": [
        "joint_not_marginal",
        "two_sample_tests",
        "which_kernel",
        "jan_dan_mcc",
        "when_adaptation_hurts",
    ],
    "your_data": ["tables_with_a_pipeline", "signals", "several_sources", "few_labels"],
    "trust": ["estimating_accuracy", "label_shift", "unknown_classes"],
    "your_parts": ["own_loop", "own_method", "own_backbone", "lightning_module"],
    "many_runs": ["table_of_the_paper", "scaling_out"],
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": [f"../examples/{section}" for section in SECTIONS],
    "within_subsection_order": ExplicitOrder([f"{name}.py" for names in SECTIONS.values() for name in names]),
    "doc_module": ("jointadapt",),
    "backreferences_dir": "reference/used_in",
    "reference_url": {"jointadapt": None},
    "remove_config_comments": True,
    "min_reported_time": 1,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "show_memory": False,
    "download_all_examples": False,
    "matplotlib_animations": False,
    "capture_repr": (),  # what is printed, and no object that a last line happens to be
    "image_scrapers": ("matplotlib",),
    "parallel": 2,
}
warnings.filterwarnings("ignore", message=".*is non-interactive, and thus cannot be shown")

html_theme = "pydata_sphinx_theme"
html_title = "jointadapt"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": [], "changelog": []}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
