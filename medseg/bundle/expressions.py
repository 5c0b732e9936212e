"""What a bundle's ``$`` expressions may say when nobody has vouched for the bundle.

MONAI evaluates the text after ``$`` as Python. Here it is read, never run: an expression passes when its syntax
tree holds only arithmetic, comparisons, indexing, containers, lambdas, and calls that are named below. Nothing that
opens a file, a process or an attribute with a leading underscore can be written with what is left.
"""

import ast
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["dotted_name", "forbidden_import", "forbidden_part", "is_import"]

REFERENCE: Final = re.compile(r"@(?:\w*)(?:(?:::|#)\w*)*")
"""A reference to another entry of the configuration, as MONAI writes it."""

MODULES: Final = frozenset(
    {"glob", "json", "math", "medseg", "monai", "np", "numpy", "os", "pathlib", "random", "re", "torch"}
)
"""Modules whose import does nothing but define names; what may be called in them is listed in ``CALLS``."""

CALLS: Final = frozenset(
    {
        *("abs", "all", "any", "bool", "dict", "enumerate", "float", "int", "len", "list", "max", "min", "range"),
        *("round", "set", "sorted", "str", "sum", "tuple", "zip"),
        *("os.path.basename", "os.path.dirname", "os.path.join"),
        *("torch.cuda.device_count", "torch.cuda.is_available", "torch.device"),
        *(
            f"torch.{name}"
            for name in (
                *("abs", "any", "argmax", "clamp", "flip", "logical_and", "logical_not", "logical_or", "max", "min"),
                *("sigmoid", "softmax", "stack", "sum", "tensor", "where", "zeros_like", "ones_like", "cat"),
            )
        ),
        *(f"math.{name}" for name in ("ceil", "exp", "floor", "log", "prod", "sqrt")),
        *(f"{name}.{kind}" for name in ("np", "numpy") for kind in ("array", "ceil", "floor", "prod")),
    }
)
"""Functions that compute and nothing else."""

OUR_ENTRIES: Final = frozenset(
    {
        ("medseg.bundle", "load_weights"),
        ("medseg.bundle", "evaluate_bundle"),
        ("medseg.training", "train_bundle"),
    }
)
"""What our own bundles import for MONAI's command line; medseg itself never runs the parts that call these."""

VALUES: Final = re.compile(
    r"(torch|np|numpy)\.(float|int|uint|bool|double|long|half|bfloat)\d*_?|math\.(pi|inf|nan)|np\.(pi|inf|nan)"
)
"""Constants of modules: number types, and the numbers everybody knows."""

METHODS: Final = frozenset(
    {
        *("all", "any", "argmax", "bool", "clamp", "cpu", "eval", "flip", "float", "int", "items", "keys", "long"),
        *("max", "mean", "min", "ndim", "parameters", "permute", "shape", "sigmoid", "softmax", "squeeze", "sum"),
        *("to", "unsqueeze", "values"),
    }
)
"""Attributes of tensors, networks and containers that compute and nothing else."""

PLAIN: Final = (
    *(ast.Expression, ast.Constant, ast.Load, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Subscript, ast.Slice),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
    ast.Starred,
)
"""Syntax that is harmless by itself; names, attributes, calls and what binds names are looked at one by one."""

LARGEST_POWER: Final = 16
MOST_POWERS: Final = 3
"""Powers and shifts of whole numbers grow without a bound, in one step that not even Ctrl-C ends: ``9**9**9``."""

GROWING: Final = (ast.Pow, ast.LShift)

COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)

STAND_IN: Final = "_ref_"
"""Takes the place of references while an expression is looked at."""


def is_import(expression: str) -> bool:
    """Whether a text after ``$`` is an import statement to MONAI, which runs those before anything else."""
    try:
        statements = ast.parse(expression).body
    except (SyntaxError, ValueError):
        return False
    return bool(statements) and isinstance(statements[0], ast.Import | ast.ImportFrom)


def forbidden_import(expression: str) -> str | None:
    """The module in an import statement that is not among the harmless ones; None where all are."""
    try:
        statement = ast.parse(expression.strip()).body[0]
    except (SyntaxError, IndexError, ValueError):
        return expression.strip()
    if isinstance(statement, ast.ImportFrom):
        # What comes out of a module has no dotted name any more, so that only our own loader is let through.
        names = {alias.name for alias in statement.names}
        is_ours = all((statement.module, name) in OUR_ENTRIES for name in names)
        is_ours = is_ours and all(alias.asname in (None, alias.name) for alias in statement.names)
        return None if is_ours else f"from {statement.module} import {', '.join(sorted(names))}"
    if not isinstance(statement, ast.Import):
        return expression.strip()
    for alias in statement.names:
        if alias.asname not in (None, alias.name) and (alias.name, alias.asname) != ("numpy", "np"):
            return f"import {alias.name} as {alias.asname}"
        if alias.name.partition(".")[0] not in MODULES:
            return alias.name
    return None


def forbidden_part(expression: str) -> str | None:
    """The first part of an expression that is not allowed, in its own words; None where all of it is.

    What is looked at is the text that MONAI evaluates: it writes ``::`` for every ``#``, and puts quotes around the
    names of references, so that neither comments nor references inside quotes are what they seem.
    """
    if STAND_IN in expression:
        return expression
    text = REFERENCE.sub(STAND_IN, expression.replace("#", "::")).strip()
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and STAND_IN in str(node.value):
            return ast.unparse(node)
    bound = {argument.arg for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in _all_of(node)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    hidden = bound & (MODULES | CALLS)
    if hidden:  # a variable called torch would make torch.device mean something else
        return sorted(hidden)[0]
    return _endless_power(tree) or _first_forbidden(tree, frozenset({STAND_IN}))


def _endless_power(tree: ast.AST) -> str | None:
    """The first power or shift that is not by a small number, or one of too many on top of each other."""
    powers = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, GROWING)]
    for count, node in enumerate(powers, 1):
        try:
            by = ast.literal_eval(node.right)
        except ValueError:
            return ast.unparse(node)
        if count > MOST_POWERS or not isinstance(by, int | float) or abs(by) > LARGEST_POWER:
            return ast.unparse(node)
    return None


def _first_forbidden(node: ast.AST, known: frozenset[str]) -> str | None:
    """``known`` are the variables that exist at this place: a name bound elsewhere means Python's own function."""
    if isinstance(node, ast.Call):
        inside = _parts_of_call(node, known)
    elif isinstance(node, ast.Attribute | ast.Name):
        inside = _parts_of_name(node, known)
    elif isinstance(node, ast.Lambda):
        body = _first_forbidden(node.body, known | {argument.arg for argument in _all_of(node.args)})
        inside = body or [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
    elif isinstance(node, COMPREHENSIONS):
        return _forbidden_in_comprehension(node, known)
    elif isinstance(node, PLAIN):
        inside = list(ast.iter_child_nodes(node))
    else:
        inside = ast.unparse(node)
    if isinstance(inside, str):
        return inside
    return next((found for part in inside if (found := _first_forbidden(part, known)) is not None), None)


def _parts_of_call(node: ast.Call, known: frozenset[str]) -> str | Sequence[ast.AST]:
    """What is left to look at in a call of a listed function or method; of any other call, its words."""
    arguments: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
    name = dotted_name(node.func)
    if name is not None and name.partition(".")[0] not in known:
        return arguments if name in CALLS else f"{name}()"
    if not isinstance(node.func, ast.Attribute):  # a variable or an entry that is called could be anything
        return f"{ast.unparse(node.func)}()"
    return [node.func, *arguments]


def _parts_of_name(node: ast.Attribute | ast.Name, known: frozenset[str]) -> str | Sequence[ast.AST]:
    dotted = dotted_name(node)
    if dotted is not None and dotted.partition(".")[0] not in known:
        return [] if VALUES.fullmatch(dotted) else dotted
    if isinstance(node, ast.Name):
        return []
    return [node.value] if node.attr in METHODS and isinstance(node.ctx, ast.Load) else f".{node.attr}"


def _forbidden_in_comprehension(
    node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, known: frozenset[str]
) -> str | None:
    """Its variables exist from their ``for`` on, and nowhere outside."""
    for part in node.generators:
        found = _first_forbidden(part.iter, known)
        if found is not None:
            return found
        for target in ast.walk(part.target):
            if isinstance(target, ast.Name):
                known |= {target.id}
            elif not isinstance(target, ast.Tuple | ast.List | ast.Starred | ast.Store):
                return ast.unparse(part.target)
        found = next((found for test in part.ifs if (found := _first_forbidden(test, known)) is not None), None)
        if found is not None:
            return found
    results = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
    return next((found for part in results if (found := _first_forbidden(part, known)) is not None), None)


def dotted_name(node: ast.AST) -> str | None:
    """``torch.cuda.is_available`` as text, None for anything that is not names joined by dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        root = dotted_name(node.value)
        return None if root is None else f"{root}.{node.attr}"
    return None


def _all_of(arguments: ast.arguments) -> list[ast.arg]:
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]
