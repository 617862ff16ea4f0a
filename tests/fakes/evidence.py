"""Which test breaks which rule; `test_fakes.py` asks for every rule to be there."""

from __future__ import annotations

from collections.abc import Callable

from fakes.rules import RULES

BROKEN_BY: dict[str, list[str]] = {}


def breaks(*rules: str) -> Callable[[Callable], Callable]:
    """Mark a test as one in which these rules are broken and caught."""

    def mark(test: Callable) -> Callable:
        for rule in rules:
            if rule not in RULES:
                raise KeyError(f"`{rule}` is no rule of rules.py")
            BROKEN_BY.setdefault(rule, []).append(test.__name__)
        return test

    return mark
