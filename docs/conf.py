"""The documentation as a site: sphinx-build -W -c docs . build/site. The pages are the Markdown files of the tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]

project = "tlmd"
author = "the authors of tlmd"
extensions = ["myst_parser"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = [
    "docs/**", "inputs/*/README.md", "inputs/benchmarks/*/README.md", "lammps_plugin/engine/README.md",
    "CONTRIBUTING.md", "CHANGELOG.md",
]  # fmt: skip
myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "tlmd"
html_static_path, html_css_files = ["site.css"], ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
suppress_warnings = ["myst.header"]  # a page of results may begin its sections lower


def inline(self: Any, node: nodes.math) -> None:
    """A formula within a line, as MathML, which browsers draw without a script."""
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(self: Any, node: nodes.math_block) -> None:
    """A formula in its own line."""
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}
