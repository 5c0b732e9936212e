"""How much a value may hold at most: the amounts that ``growth`` reckons with, and what functions make of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = ["CALLED", "SOMETHING", "Amount", "Kind", "all_of", "capped", "either", "of_constant", "together"]

Kind = Literal["whole", "float", "text", "many", "unknown"]
NUMBERS: Final = ("whole", "float")


@dataclass(frozen=True)
class Amount:
    """The most that a value may hold: how many values through all nesting, the largest number, one of its entries."""

    values: float
    largest: float
    kind: Kind
    entry: "Amount | None" = None

    @property
    def is_number(self) -> bool:
        """Whether it is surely a single number."""
        return self.kind in NUMBERS

    @property
    def one(self) -> "Amount":
        """What a loop over it gives."""
        return self.entry or self


SOMETHING: Final = Amount(1, 1000, "unknown")
"""What is built or given when it runs: a network, a scan, a device."""


def of_constant(value: object) -> Amount:
    """A value as it stands in the text."""
    if isinstance(value, bool | int):
        return Amount(1, capped(lambda: float(abs(value))), "whole")
    if isinstance(value, float):
        return Amount(1, abs(value), "float")
    return Amount(max(len(value), 1), 1, "text") if isinstance(value, str | bytes) else SOMETHING


def _of_range(given: Sequence[Amount]) -> Amount:
    largest = max(one.largest for one in given)
    return Amount(sum(one.largest for one in given[:2]), largest, "many", Amount(1, largest, "whole"))


def _of_sum(given: Sequence[Amount]) -> Amount:
    one = given[0].one
    values = 1 if one.is_number else sum(amount.values for amount in given)
    return replace(one, values=values, largest=one.largest * max(given[0].values, 1))


def _whole(given: Sequence[Amount]) -> Amount:
    """``int`` and the like: a text of digits is a number of as many."""
    values = given[0].values
    return Amount(1, given[0].largest if given[0].kind != "text" else capped(lambda: 10.0**values), "whole")


def _as_text(given: Sequence[Amount]) -> Amount:
    return Amount(given[0].values * (32 + math.log10(given[0].largest + 1)), 1, "text")


def _in_pairs(given: Sequence[Amount]) -> Amount:
    pair = together([one.one for one in given] + [Amount(1, given[0].values, "whole")])
    return Amount(sum(one.values for one in given) * 2, pair.largest, "many", pair)


def either(amounts: Sequence[Amount]) -> Amount:
    """One of them, whichever."""
    if not amounts:
        return SOMETHING
    kinds = {amount.kind for amount in amounts}
    entries = [amount.entry for amount in amounts if amount.entry is not None]
    return Amount(
        max(amount.values for amount in amounts),
        max(amount.largest for amount in amounts),
        kinds.pop() if len(kinds) == 1 else "whole" if kinds <= set(NUMBERS) else "unknown",
        either(entries) if entries else None,
    )


def together(amounts: Sequence[Amount]) -> Amount:
    """All of them in one container."""
    one = either(amounts)
    return Amount(sum(amount.values for amount in amounts), one.largest if amounts else 0, "many", one)


def all_of(amounts: Sequence[Amount]) -> Amount:
    """Something made of all of them: tensors laid out over one another have the product of their sizes."""
    values = math.prod(amount.values for amount in amounts)
    return Amount(values, max((amount.largest for amount in amounts), default=1), "unknown")


def capped(compute: Callable[[], float]) -> float:
    """A number, or infinity where it is beyond the floating ones."""
    try:
        return compute()
    except OverflowError:
        return math.inf


CALLED: Final[Mapping[str, Callable[[Sequence[Amount]], Amount]]] = {
    "range": _of_range,
    "sum": _of_sum,
    "str": _as_text,
    "len": lambda given: Amount(1, given[0].values, "whole"),
    "enumerate": _in_pairs,
    "zip": _in_pairs,
    "math.exp": lambda given: Amount(1, math.inf, "float"),
    "math.prod": lambda given: Amount(1, capped(lambda: max(given[0].largest, 1) ** given[0].values), "whole"),
    **{name: lambda given: Amount(1, 1, "whole") for name in ("all", "any", "bool")},
    **dict.fromkeys(("int", "round", "math.ceil", "math.floor"), _whole),
    **{name: lambda given: replace(_whole(given), kind="float") for name in ("float", "math.log", "math.sqrt")},
    **{name: lambda given: given[0].one if len(given) == 1 else either(given) for name in ("max", "min")},
    **{
        f"os.path.{name}": lambda given: Amount(sum(one.values + 1 for one in given), 1, "text")
        for name in ("basename", "dirname", "join")
    },
    "dict": together,
    **{
        name: lambda given: Amount(given[0].values, given[0].largest, "many", given[0].one)
        for name in ("list", "set", "sorted", "tuple")
    },
    "abs": lambda given: given[0],
}
"""What the functions that ``expressions`` let through make of their arguments."""
