"""What of a notebook's code is run for an exercise.

The rule, in words for students: "Your function is run with the imports, functions, classes and constants that it uses,
from its own cell and the cells above it. A constant may be computed with Python, NumPy and torch; what is computed by
padlab, another library or a function of the notebook is left out, and so is everything else." Only for an exercise that
trains models (`hypothesis`) a constant may be computed by anything.
"""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

IMPORTS = (ast.Import, ast.ImportFrom)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
CALCULATING = sys.stdlib_module_names | {"numpy", "torch"}
MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|[\w.]+\?+[ \t]*)$", re.MULTILINE)  # %magic, !command, ?name, name?
CHECK = re.compile(r"\bchecks\s*\.\s*(\w+)\s*\(")


class Cell(NamedTuple):
    """A code cell: its text, and its statements or the syntax error."""

    source: str
    tree: ast.Module
    error: str = ""


class UsedCode(NamedTuple):
    """Statements to run, in order, and the names whose values are left out, with the reason."""

    statements: list[str]
    left_out: dict[str, str]


def parse(source: str) -> Cell:
    r"""A cell's statements. Lines for IPython (%magic, !command, name?) become `pass`; %%bash and the like are no code.

    >>> len(parse("%matplotlib inline\nx = 1").tree.body), parse("x = = 1").error
    (2, 'line 1: invalid syntax')
    """
    first, _, rest = source.lstrip().partition("\n")
    if first.startswith("%%"):
        source = rest if first.split()[0] in ("%%time", "%%capture") else ""
    try:
        return Cell(source, _statements(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        try:
            return Cell(source, _statements(MAGIC.sub(r"\1pass", source)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
            return Cell(source, ast.Module([], []), where or "nested too deeply")


def _statements(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python, about the student's code
        tree = ast.parse(source)
        # finds what the parser does not, such as a return outside a function
        compile(tree, "<notebook>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return tree


def checked_names(cell: Cell) -> list[str]:
    """Names of the exercises that a cell checks; in a cell with a syntax error, those that it mentions so.

    >>> checked_names(parse("print('checks.vpd(f)')")), checked_names(parse("padlab.checks.jsd(jsd)"))
    ([], ['jsd'])
    """
    return CHECK.findall(cell.source) if cell.error else [call.func.attr for call in _check_calls(cell)]


def find_check(cells: Sequence[Cell], name: str) -> tuple[int, ast.Call | None] | None:
    """The last cell that checks an exercise, and the call (None: the cell has a syntax error); None if there is none.

    >>> find_check([parse("checks.vpd(vpd)"), parse("checks.jsd(jsd)")], "vpd")[0]
    0
    """
    for at in reversed(range(len(cells))):
        if name in checked_names(cells[at]):
            calls = [call for call in _check_calls(cells[at]) if call.func.attr == name]
            return at, calls[-1] if calls else None
    return None


def _check_calls(cell: Cell) -> list[ast.Call]:
    """Calls of `checks.NAME` or `padlab.checks.NAME`, in order."""
    calls = []
    for node in ast.walk(cell.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if getattr(owner, "attr", getattr(owner, "id", "")) == "checks":
                calls.append(node)
    return sorted(calls, key=lambda call: (call.lineno, call.col_offset))


def used_code(cells: Sequence[Cell], at: int, expression: ast.expr, anything: bool = False) -> UsedCode:
    """What an expression in cell `at` uses, directly or through what it uses; see the rule above.

    Args:
        cells: of the notebook.
        at: position of the expression's cell.
        expression: the function, as it stands in the call of the check.
        anything: whether constants may be computed by anything.

    >>> cells = [parse("import math, os"), parse("a = math.log(2); b = train()"), parse("f = lambda x: a * x")]
    >>> used_code(cells, 2, ast.parse("f").body[0].value).statements
    ['import math, os', 'a = math.log(2)', 'f = lambda x: a * x']
    """
    above = [statement for cell in cells[: at + 1] for statement in cell.tree.body]
    below = [statement for cell in cells[at + 1 :] for statement in cell.tree.body]
    runnable = _runnable([*(statement for statement in below if isinstance(statement, IMPORTS)), *above], anything)
    wanted, names = set(), _names(expression)
    while more := [s for s in runnable if s not in wanted and _bound(s) & {*names, "*"}]:
        wanted.update(more)
        names |= {name for statement in more for name in _names(statement)}
    left_out = {name: "it is defined in a later cell" for s in below for name in _bound(s)}
    left_out |= {name: _reason(s) for s in above if s not in runnable for name in _bound(s)}
    for statement in runnable:
        left_out = {name: why for name, why in left_out.items() if name not in _bound(statement)}
    return UsedCode([ast.unparse(statement) for statement in runnable if statement in wanted], left_out)


def _reason(statement: ast.stmt) -> str:
    if isinstance(statement, ASSIGNMENTS):
        return "it is not computed with Python, NumPy and torch alone"
    return "of a cell only imports, definitions and assignments are run, not loops and other blocks"


def _runnable(statements: Sequence[ast.stmt], anything: bool) -> list[ast.stmt]:
    """Imports, definitions, and assignments that call nothing but Python, NumPy, torch and values computed so.

    A name that some other statement gives another value later is left out altogether, not run with its older value.
    """
    harmless, found = set(dir(builtins)), []
    for statement in statements:
        own, new, runs = _bound(statement), set(), isinstance(statement, IMPORTS + DEFINITIONS)
        if isinstance(statement, IMPORTS):
            new = _calculating(statement)
        elif isinstance(statement, ASSIGNMENTS) and statement.value is not None:
            read = _names(statement) | (own if isinstance(statement, ast.AugAssign) else set())
            new = own if read <= harmless else set()
            calls = any(isinstance(node, ast.Call | ast.Await) for node in _executed(statement.value))
            runs = bool(new) or anything or not calls
        if not runs:
            found = [s for s in found if isinstance(s, IMPORTS) or not own & _bound(s)]
        harmless = harmless - own | new
        found += [statement] * runs
    return found


def _calculating(statement: ast.Import | ast.ImportFrom) -> set[str]:
    """Of the names that an import binds, those of Python's own modules, NumPy and torch."""
    if isinstance(statement, ast.ImportFrom):
        return _bound(statement) if (statement.module or "").split(".")[0] in CALCULATING else set()
    return {a.asname or a.name.split(".")[0] for a in statement.names if a.name.split(".")[0] in CALCULATING}


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is inside, without the bodies of lambdas."""
    yield node
    if not isinstance(node, ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _executed(child)


def _names(node: ast.stmt | ast.expr) -> set[str]:
    """Names that a statement or expression reads and does not define inside itself."""
    found, tables = set(), [symtable.symtable(ast.unparse(node), "<notebook>", "exec")]
    for table in tables:
        tables.extend(table.get_children())
        outside = (s for s in table.get_symbols() if s.is_global() or table.get_type() == "module")
        found |= {symbol.get_name() for symbol in outside if symbol.is_referenced()}
    return found


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement gives a value, or whose value it changes."""
    if isinstance(statement, IMPORTS):
        return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    if isinstance(statement, ASSIGNMENTS):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    stored = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.name for n in ast.walk(statement) if isinstance(n, DEFINITIONS)}
