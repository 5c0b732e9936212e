"""How much an expression of a bundle may come to hold, found by reading it: ``[0] * 10**12`` is never run.

In: a configuration and an expression of it that ``expressions`` let through. Out: the part that may hold more than
``MOST_VALUES``, or a number of more than 300 digits. What a reference holds counts with it, so that a list that
doubles from entry to entry is found too. A scan counts as one value: what is laid out of it by broadcasting is not
bounded here.
"""

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from monai.bundle import ConfigParser

from medseg.bundle.amounts import CALLED, SOMETHING, Amount, Kind, all_of, capped, either, of_constant, together
from medseg.bundle.expressions import COMPREHENSIONS, REFERENCE, dotted_name, is_import

__all__ = ["Growth"]

MOST_VALUES: Final = 1_000_000
"""Numbers, characters and entries, through all nesting; the longest lists in published bundles have some hundred."""

LARGEST_NUMBER: Final = 1e300
"""Above it whole numbers go on for ever, and floating ones are infinite."""

SHOWN: Final = 80
"""Characters of an expression that a message repeats."""

WIDTH: Final = re.compile(r"%[^a-zA-Z%]*[\d*]")
"""A format that fills up with blanks, by as many as it says."""


class OutgrownError(Exception):
    """A part of an expression that may hold too much."""

    def __init__(self, node: ast.AST) -> None:
        super().__init__(ast.unparse(node))


class Growth:
    """The amounts of the entries of one configuration; each is looked at once."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._known: dict[str, Amount] = {}

    def outgrown(self, text: str, place: str) -> str | None:
        """The part of an expression (without its ``$``) that may hold too much; None where there is none."""
        try:
            self._of_expression(text, place)
        except OutgrownError as error:
            found = str(error)
        except RecursionError:
            found = text
        else:
            return None
        return found if len(found) <= SHOWN else f"{found[:SHOWN]} …"

    def _of_expression(self, text: str, place: str) -> Amount:
        try:
            absolute = ConfigParser.resolve_relative_ids(place, text)
            names = [found[1:] for found in REFERENCE.findall(absolute)]
            numbered = iter(range(len(names)))
            tree = ast.parse(REFERENCE.sub(lambda _: f"_ref_{next(numbered)}", absolute).strip(), mode="eval")
        except (SyntaxError, ValueError, MemoryError):
            return SOMETHING  # refused elsewhere
        known = {f"_ref_{number}": self._of_entry(name) for number, name in enumerate(names)}
        return _of_node(tree.body, known)

    def _of_entry(self, name: str) -> Amount:
        if name not in self._known:
            self._known[name] = SOMETHING  # until it is known: MONAI refuses what refers to itself
            value: Any = self._config
            for part in name.split("::"):
                if isinstance(value, Mapping):
                    value = value.get(part)
                else:
                    is_index = isinstance(value, list) and part.isdigit() and int(part) < len(value)
                    value = value[int(part)] if is_index else None
            self._known[name] = self._of_value(value, name)
        return self._known[name]

    def _of_value(self, value: Any, place: str) -> Amount:
        if isinstance(value, Mapping):
            if "_target_" in value:
                return SOMETHING
            return together([self._of_value(inner, f"{place}::{key}") for key, inner in value.items()])
        if isinstance(value, list):
            return together([self._of_value(inner, f"{place}::{index}") for index, inner in enumerate(value)])
        if isinstance(value, str) and value[:1] == "$":
            return SOMETHING if is_import(value[1:]) else self._of_expression(value[1:], place)
        if isinstance(value, str) and value[:1] in ("@", "%") and REFERENCE.fullmatch(f"@{value[1:]}"):
            return self._of_expression(f"@{value[1:]}", place)
        return of_constant(value)


def _of_node(node: ast.AST, known: Mapping[str, Amount]) -> Amount:
    """The amount of a part of an expression; ``known`` are the variables at this place.

    Raises:
        OutgrownError: it, or something in it, may hold too much.
    """
    amount = _of_any(node, known)
    if amount.kind == "float":
        amount = replace(amount, largest=min(amount.largest, LARGEST_NUMBER))
    if amount.values > MOST_VALUES or amount.largest > LARGEST_NUMBER:
        raise OutgrownError(node)
    return amount


def _of_any(node: ast.AST, known: Mapping[str, Amount]) -> Amount:
    if isinstance(node, ast.Constant):
        return of_constant(node.value)
    if isinstance(node, ast.Name):
        return known.get(node.id, SOMETHING)
    if isinstance(node, COMPREHENSIONS):
        return _of_comprehension(node, known)
    if isinstance(node, ast.BinOp):
        return _of_operation(node, _of_node(node.left, known), _of_node(node.right, known))
    if isinstance(node, ast.Call):
        return _of_call(node, known)
    if isinstance(node, ast.Lambda):
        given = {argument.arg: SOMETHING for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
        _of_node(node.body, {**known, **given})
        return SOMETHING
    parts = [_of_node(child, known) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if isinstance(node, ast.Subscript):
        return parts[0] if isinstance(node.slice, ast.Slice) else parts[0].one
    if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
        return together(parts)
    return all_of(parts) if isinstance(node, ast.Compare) else either(parts)


def _of_operation(node: ast.BinOp, left: Amount, right: Amount) -> Amount:
    if left.is_number and right.is_number:
        return _of_numbers(node, left, right)
    if isinstance(node.op, ast.Mult) and (left.is_number or right.is_number):
        number, other = (left, right) if left.is_number else (right, left)
        times = max(number.largest, 1) if number.kind == "whole" else 1
        values = other.values if other.kind == "unknown" else other.values * times
        largest = other.largest if other.kind in ("text", "many") else other.largest * number.largest
        return replace(other, values=values, largest=largest)
    if isinstance(node.op, ast.Mod) and left.kind == "text":
        # what is filled in may be a number of digits, and the format may say how many blanks
        is_filled = not isinstance(node.left, ast.Constant) or WIDTH.search(str(node.left.value)) is not None
        return replace(left, values=math.inf if is_filled else left.values + 300 * right.values)
    if isinstance(node.op, ast.Add) and ("text" in (left.kind, right.kind) or left.kind == right.kind == "many"):
        return replace(either([left, right]), values=left.values + right.values)
    return all_of([left, right])


def _of_numbers(node: ast.BinOp, left: Amount, right: Amount) -> Amount:
    """The arithmetic of two numbers; a divisor that is not in the text may be as small as it likes."""
    a, b = left.largest, right.largest
    divisor = b if isinstance(node.right, ast.Constant) else 0
    operations: dict[type[ast.operator], Callable[[], float]] = {
        ast.Mult: lambda: a * b,
        ast.Pow: lambda: max(a, 1) ** b,
        ast.LShift: lambda: a * 2**b,
        ast.Div: lambda: a / divisor if divisor else math.inf,
        ast.FloorDiv: lambda: a / divisor if divisor else a if right.kind == "whole" else math.inf,
        ast.Mod: lambda: b,
    }
    kind: Kind = "float" if isinstance(node.op, ast.Div) or "float" in (left.kind, right.kind) else "whole"
    return Amount(1, capped(operations.get(type(node.op), lambda: a + b)), kind)


def _of_comprehension(
    node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, known: Mapping[str, Amount]
) -> Amount:
    rounds, inside = 1.0, dict(known)
    for part in node.generators:
        source = _of_node(part.iter, inside)
        rounds *= source.values
        is_name = isinstance(part.target, ast.Name)
        given = source.one if is_name else source.one.one
        inside |= {target.id: given for target in ast.walk(part.target) if isinstance(target, ast.Name)}
        if rounds > MOST_VALUES:
            raise OutgrownError(node)
        for test in part.ifs:
            _of_node(test, inside)
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    one = either([_of_node(result, inside) for result in results])
    return Amount(rounds * len(results) * one.values, one.largest, "many", one)


def _of_call(node: ast.Call, known: Mapping[str, Amount]) -> Amount:
    given = [_of_node(part, known) for part in (*node.args, *(keyword.value for keyword in node.keywords))]
    name = dotted_name(node.func) or ""
    first = given[0] if given else SOMETHING
    if name in CALLED:
        return CALLED[name](given or [first])
    if name and name.partition(".")[0] not in known:  # of torch or numpy
        return all_of(given)
    return all_of([_of_node(node.func, known), *given])
