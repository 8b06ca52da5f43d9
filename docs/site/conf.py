"""Settings of Sphinx for `make site`; `build.py` beside this file gathers the pages."""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

project = html_title = "analysis_lib"
html_theme = "furo"
html_static_path = ["style.css", "boxes.js"]
html_css_files, html_js_files = ["style.css"], ["boxes.js"]
html_copy_source = html_show_copyright = False
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # the notebooks come executed
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 4
default_role = "literal"  # `name` in a docstring is code
add_module_names = False  # the heading above says the module
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # a default as it is written, never an address in memory
autodoc_typehints_format = "short"
napoleon_use_rtype = False  # the type in the line of what is returned
html_math_renderer = "mathml"


def plain_prose(app, what, name, item, options, lines):
    """Docstrings are plain prose: outside `code` and *emphasis* a star, a bar or an underscore means itself."""
    for number, line in enumerate(lines):
        parts = re.split(r"(`+[^`]*`+|(?<![\w*])\*[\w-]+\*(?![\w*]))", line)
        parts[::2] = [re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def draw_formula(translator, node):
    """Formulas as MathML, which browsers draw themselves: no script and no font to load."""
    translator.body.append(tex2mathml(node.astext(), as_block=node.tagname == "math_block"))
    raise SkipNode


def level_captions(app, page, template, context, doctree):
    """The captions of the side bar are headings, so they say of which level."""
    tree = context["furo_navigation_tree"]
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')


def setup(app):
    app.connect("html-page-context", level_captions, priority=900)  # after the theme
    app.connect("autodoc-process-docstring", plain_prose, priority=400)  # before napoleon
    app.add_html_math_renderer("mathml", inline_renderers=(draw_formula, None), block_renderers=(draw_formula, None))
