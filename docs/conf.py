"""Sphinx: the site is built from these pages, the docstrings and the notebooks as saved; nothing is executed."""

import ast
import dataclasses
import inspect
import os
import re
import shutil
import textwrap
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

import padlab
from padlab.cli import parser

os.environ["COLUMNS"] = "100"  # of the commands' help
HERE = Path(__file__).parent
COURSE = HERE / "course"  # copies, ignored by git: Sphinx reads only what lies below this folder
COURSE.mkdir(exist_ok=True)
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    if not (COURSE / notebook.name).exists() or (COURSE / notebook.name).read_bytes() != notebook.read_bytes():
        shutil.copyfile(notebook, COURSE / notebook.name)

project, author, copyright = "padlab", "The padlab developers", "the padlab developers, Apache-2.0"
version = release = padlab.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["**/.ipynb_checkpoints"]
smartquotes = False
default_role = "py:obj"  # `name` in a docstring is code, and a link where the name is documented

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"padlab {release}"
html_static_path = ["_static"]
html_css_files = ["padlab.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}


def as_written(app, what, name, obj, options, signature, returns):
    """The signature as it stands in the source: its shapes are read there; of a dataclass, its own fields."""
    if what == "class" and dataclasses.is_dataclass(obj):
        own = inspect.get_annotations(obj)
        fields = [field for field in dataclasses.fields(obj) if field.name in own]
        return f"({', '.join(_as_parameter(field, own[field.name]) for field in fields)})", None
    if what not in ("function", "method"):
        return None
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    if what == "method" and node.args.args and node.args.args[0].arg in ("self", "cls"):
        node.args.args.pop(0)
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def _as_parameter(field, annotation):
    name = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    default = repr(field.default) if field.default is not dataclasses.MISSING else "..."
    required = field.default is field.default_factory is dataclasses.MISSING
    return f"{field.name}: {name}" if required else f"{field.name}: {name} = {default}"


def as_text(app, what, name, obj, options, lines):
    """Where a docstring, written to be read as it is, would be taken for markup."""
    if what == "property":  # napoleon takes `what: how` on its first line for a type
        lines[0] = lines[0].replace(": ", ":\n", 1)
    listed = None  # indentation of a list of names within a section, as under `settings:`
    for k, line in enumerate(list(lines)):
        text, indent = line.lstrip(), len(line) - len(line.lstrip())
        if text.startswith(">>>"):
            break
        if line == "Returns:":  # here, too
            text = ":returns:"
        text = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", text.replace("|", r"\|"))  # `Response`s; |x| is no substitution
        if listed is not None and text and indent < listed:
            listed = None
        if listed is not None and text:
            text, indent = ("* " if indent == listed else "  ") + text, listed
        below = lines[k + 1] if k + 1 < len(lines) else ""
        if text.endswith(":") and indent and len(below) - len(below.lstrip()) > indent:
            listed, text = len(below) - len(below.lstrip()), text + "\n"
        lines[k] = " " * indent + text
    lines[:] = "\n".join(lines).split("\n")


def with_commands(app, page, source):
    """`padlab COMMAND --help`, of all commands, on their page."""
    if page == "reference/commands":
        commands = next(action.choices for action in parser()._actions if action.dest == "command")
        helps = [f"## padlab {name}\n\n```text\n{command.format_help()}```\n" for name, command in commands.items()]
        source[0] += "\n" + "\n".join(helps)


def setup(app):
    """Formulas as MathML, which browsers show without a script."""

    def inline(writer, node):
        writer.body.append(convert(node.astext()))
        raise nodes.SkipNode

    def block(writer, node):
        writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("source-read", with_commands)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", as_text, priority=400)
