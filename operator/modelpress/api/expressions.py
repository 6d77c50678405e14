"""Evaluates the CEL rules of the CRD here, with what Kubernetes adds to the language as far as our rules use it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelpress.api import quantity

if TYPE_CHECKING:
    import cel


def is_transition(rule: Mapping[str, str]) -> bool:
    """Whether a rule compares with the object as it was."""
    return "oldSelf" in rule["rule"]


def complaint(rule: Mapping[str, str], value: Any, old: Any = None) -> str | None:
    """The message of a rule that `value` breaks, None where it holds. `old` None: there was nothing before."""
    if is_transition(rule) and old is None:
        return None
    context = _context(value, old)
    if _program(rule["rule"]).execute(context) is True:
        return None
    if says := rule.get("messageExpression"):
        return str(_program(says).execute(context))
    return rule["message"]


@functools.cache
def _program(text: str) -> cel.Program:
    import cel

    return cel.compile(text)


def _context(value: Any, old: Any) -> cel.Context:
    import cel

    context = cel.Context(variables={"self": value, "oldSelf": old})
    context.add_function("quantity", quantity.number)
    context.add_function("compareTo", lambda one, other: (one > other) - (one < other))
    context.add_function("isSorted", lambda items: list(items) == sorted(items))
    context.add_function("format", _formatted)
    return context


def _formatted(template: str, values: list[Any]) -> str:
    """%s and %d as Go prints them: 1.0 as 1."""
    return template % tuple(
        int(value) if isinstance(value, float) and value.is_integer() else value for value in values
    )
