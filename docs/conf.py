"""Sphinx: the site is built from these pages, the docstrings and the notebooks as saved; nothing is executed."""

import ast
import dataclasses
import inspect
import json
import os
import re
import textwrap
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert

import padlab
from padlab.cli import parser

os.environ["COLUMNS"] = "100"  # of the commands' help
HERE = Path(__file__).parent
COURSE = HERE / "course"  # copies, ignored by git: Sphinx reads only what lies below this folder
AS_SAVED = "*As it was saved: sliders and buttons appear where you run it, `padlab lab` ([The course](../course.md)).*"


def for_the_site(notebook):
    """A notebook with file names as links, what its figures show as their alternative texts, and a word on sliders."""
    content = json.loads(notebook.read_bytes())
    for cell in content["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = re.sub(r"(?<!\[)`(\d\d_\w+)\.ipynb`(?!\])", r"[\1](\1.ipynb)", text)
            cell["source"] = re.sub(r"(?<!\[)`docs/(\w+)\.md`(?!\])", r"[docs/\1.md](../\1.md)", text)
        figures = [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
        alt = [figure["metadata"].get("image/png", {}).get("alt") for figure in figures]
        if any(alt):
            cell["metadata"]["mystnb"] = {"image": {"alt": " ".join(filter(None, alt))}}
    content["cells"][0]["source"] += f"\n\n{AS_SAVED}"
    return json.dumps(content)


COURSE.mkdir(exist_ok=True)
for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    made, copy = for_the_site(notebook), COURSE / notebook.name
    if not copy.exists() or copy.read_text(encoding="utf-8") != made:
        copy.write_text(made, encoding="utf-8")

project, author, copyright = "padlab", "The padlab developers", "the padlab developers, Apache-2.0"
version = release = padlab.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
suppress_warnings = ["toc.not_included"]  # entries of the log are reached from its table
exclude_patterns = ["**/.ipynb_checkpoints"]
highlight_language = "none"  # of blocks that name none: indented ones in docstrings
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
        fields = {field.name: field for field in dataclasses.fields(obj)}
        return f"({', '.join(_as_parameter(fields[name], own[name]) for name in own if name in fields)})", None
    if what not in ("function", "method", "class"):
        return None
    try:
        source = inspect.getsource(inspect.unwrap(obj.__init__ if what == "class" else obj))
        node = ast.parse(textwrap.dedent(source)).body[0]
    except (OSError, TypeError, SyntaxError):
        return None
    if node.args.args and node.args.args[0].arg in ("self", "cls"):
        node.args.args.pop(0)
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns and what != "class" else None


def _as_parameter(field, annotation):
    name = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    default = repr(field.default) if field.default is not dataclasses.MISSING else "..."
    required = field.default is field.default_factory is dataclasses.MISSING
    return f"{field.name}: {name}" if required else f"{field.name}: {name} = {default}"


def as_text(app, what, name, obj, options, lines):
    """Where a docstring, written to be read as it is, would be taken for markup."""
    if what == "property":  # napoleon takes `what: how` on its first line for a type
        lines[0] = lines[0].replace(": ", ":\n", 1)
    listed, verbatim = None, False  # indentation of a list of names, as under `settings:`; within an indented block
    for k, line in enumerate(list(lines)):
        text, indent = line.lstrip(), _depth(line)
        verbatim = verbatim and (indent > 0 or not text)
        if text.startswith(">>>"):
            break
        if verbatim:
            continue
        if line == "Returns:":  # napoleon, as above
            text = ":returns:"
        text = re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", text.replace("|", r"\|"))  # `Response`s; |x| is no substitution
        if listed is not None and text and indent < listed:
            listed = None
        if listed is not None and text:
            text, indent = ("* " if indent == listed else "  ") + text, listed
        below, second = (*lines[k + 1 : k + 3], "", "")[:2]
        if text.endswith(":") and indent and _depth(below) > indent:
            listed, text = _depth(below), text + "\n"
        if text.endswith(":") and not indent and not below and _depth(second):
            verbatim, text = True, text + ":"
        lines[k] = " " * indent + text
    lines[:] = "\n".join(lines).split("\n")


def _depth(line):
    return len(line) - len(line.lstrip())


def with_lists(app, page, source):
    """Three lists that pages do not repeat: notebooks, public names, help of the commands. The log is not searched."""
    lists = {"course": ("(notebooks)", notebooks), "reference/index": ("(names)", public_names)}
    lists["reference/commands"] = ("(commands)", commands)
    if page.startswith("log/2"):
        source[0] = f"---\nnosearch: true\n---\n{source[0]}"
    if page in lists:
        mark, listed = lists[page]
        source[0] = source[0].replace(mark, listed())


def notebooks():
    """`00 title <course/00_name>` of each notebook."""
    cells = {path: json.loads(path.read_bytes())["cells"] for path in sorted(COURSE.glob("*.ipynb"))}
    titles = {path: "".join(found[0]["source"]).splitlines()[0].lstrip("# ") for path, found in cells.items()}
    return "\n".join(f"{path.name[:2]} {title} <course/{path.stem}>" for path, title in titles.items())


def public_names():
    """The table in padlab's docstring, with links."""
    rows = re.findall(r"^    (\S+(?:, \S+)*) {2,}(.*)$", padlab.__doc__, re.M)
    return "\n".join(f"| {re.sub(NAME, LINK, names)} | {re.sub(NAME, LINK, what)} |" for names, what in rows)


NAME = rf"\b({'|'.join(padlab.__all__)})\b"
LINK = r"{py:obj}`\1 <padlab.\1>`"


def commands():
    """`padlab COMMAND --help` of each command."""
    action = next(action for action in parser()._actions if action.dest == "command")
    what = {choice.dest: choice.help for choice in action._choices_actions}
    listed = [(name, f"`{name}`: {what[name]}", c.format_help()) for name, c in action.choices.items()]
    return "\n".join(f"## padlab {name}\n\n{text}.\n\n```text\n{shown}```\n" for name, text, shown in listed)


def with_links_back(app, page, template, context, doctree):
    """`viewcode` links from a module's source to one name of that module; here each function has one of two."""
    if page.startswith("_modules/"):
        known = app.env.get_domain("py").objects
        module = page.removeprefix("_modules/").replace("/", ".")

        def mended(link):
            tail = link[1].removeprefix(module + ".").removeprefix("padlab.")
            return next(f'#{name}"' for name in (f"padlab.{tail}", f"{module}.{tail}", link[1]) if name in known)

        context["body"] = re.sub(r'#(padlab\.[\w.]+)"', mended, context["body"])


def setup(app):
    """Formulas as MathML, which browsers show without a script."""

    def inline(writer, node):
        writer.body.append(convert(node.astext()))
        raise nodes.SkipNode

    def block(writer, node):
        writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("html-page-context", with_links_back)
    app.connect("source-read", with_lists)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-process-docstring", as_text, priority=400)
