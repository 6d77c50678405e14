"""What an API server with our CRD would say to an object, said without one: same verdict, same defaults, same rules.

The walk follows the generated schema, so that nothing is checked here which the CRD does not check, and the reverse.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from modelpress.api import bounds, crd, expressions
from modelpress.api.errors import Problem
from modelpress.api.rules import RULES, Where
from modelpress.api.scalar import LABEL_VALUE
from modelpress.api.structural import Schema

_ANNOTATIONS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_LABELS: Schema = {
    "type": "object",
    "additionalProperties": {"type": "string", "maxLength": 63, "pattern": LABEL_VALUE},
}
_NAMESPACE: Schema = {"type": "string", "maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
_SET_BY_SERVER = (
    *("uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("selfLink", "managedFields", "ownerReferences", "finalizers", "generateName"),
)


class Admitted(NamedTuple):
    """The object with its defaults, complete only where there are no problems."""

    document: dict[str, Any]
    problems: tuple[Problem, ...]


def admit(document: dict[str, Any], *, where: Where, old: dict[str, Any] | None = None) -> Admitted:
    """Checks a JSON-ready CompressedModel; `old` is the object that it replaces, with its defaults."""
    whole = crd.schema(where)
    metadata = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": whole["properties"]["metadata"]["properties"]["name"],
            "namespace": _NAMESPACE,
            "labels": _LABELS,
            "annotations": _ANNOTATIONS,
            **{name: {} for name in _SET_BY_SERVER},
        },
    }
    schema = {
        **whole,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {**whole["properties"], "metadata": metadata},
    }
    walk = _Walk(schema)
    admitted = walk.value(schema, document, "", old)
    return Admitted(admitted, tuple(walk.problems))


class _Walk:
    def __init__(self, root: Schema) -> None:
        self.problems: list[Problem] = []
        self._root = root

    def value(self, schema: Schema, value: Any, at: str, old: Any = None) -> Any:
        """The value with its defaults; CEL runs only where everything below is sound, as on the server."""
        before = len(self.problems)
        if wrong := bounds.wrong_type(schema, value):
            self._problem(at, wrong, "WrongType")
            return value
        for complaint in bounds.broken(schema, value):
            self._problem(at, complaint, "OutOfBounds")
        if isinstance(value, dict):
            value = self._mapping(schema, value, at, old if isinstance(old, dict) else {})
        elif isinstance(value, list):
            value = self._list(schema, value, at)
        if len(self.problems) == before:
            self._rules(schema, value, at, old)
        return value

    def _mapping(self, schema: Schema, value: dict[str, Any], at: str, old: dict[str, Any]) -> dict[str, Any]:
        present = {key: inner for key, inner in value.items() if inner is not None}
        if "properties" not in schema:
            inner_schema = schema.get("additionalProperties")
            if inner_schema is None:
                return present
            return {key: self.value(inner_schema, inner, _key(at, key)) for key, inner in present.items()}
        properties: dict[str, Schema] = schema["properties"]
        for name in schema.get("required", ()):
            if name not in present:
                self._problem(_key(at, name), f"is missing: {_what(properties[name])}", "Required")
        for name, inner in properties.items():
            if name not in present and "default" in inner:
                present[name] = copy.deepcopy(inner["default"])
        for name in value:
            if name not in properties:
                self._unknown(name, list(properties), at)
        return {
            name: self.value(properties[name], inner, _key(at, name), old.get(name))
            for name, inner in present.items()
            if name in properties
        }

    def _list(self, schema: Schema, value: list[Any], at: str) -> list[Any]:
        if "items" not in schema:
            return value
        items = [self.value(schema["items"], item, f"{at}[{index}]") for index, item in enumerate(value)]
        kind = schema.get("x-kubernetes-list-type")
        keys = schema.get("x-kubernetes-list-map-keys", ())
        seen: list[Any] = []
        for index, item in enumerate(items) if kind in ("set", "map") else ():
            identity = [item.get(key) for key in keys] if kind == "map" and isinstance(item, dict) else item
            if identity in seen:
                name = ", ".join(f"{key} {bounds.shown(item[key])}" for key in keys if key in item)
                self._problem(f"{at}[{index}]", f"{name or bounds.shown(item)} comes twice: keep one", "Duplicate")
            seen.append(identity)
        return items

    def _rules(self, schema: Schema, value: Any, at: str, old: Any) -> None:
        for rule in schema.get(RULES, ()):
            if complaint := expressions.complaint(rule, value, old):
                self._problem(at + rule.get("fieldPath", ""), complaint, "Invalid")

    def _unknown(self, name: str, siblings: list[str], at: str) -> None:
        guess = bounds.meant(name, siblings)
        elsewhere = None if guess else next(_paths_of(self._root, name), None)
        cure = f"did you mean {guess or elsewhere}?" if guess or elsewhere else f"known: {', '.join(sorted(siblings))}"
        self._problem(_key(at, name), f"unknown field; {cure}", "UnknownField")

    def _problem(self, at: str, message: str, reason: str) -> None:
        self.problems.append(Problem(at.removeprefix("."), message, reason))


def _key(at: str, name: str) -> str:
    return f"{at}.{name}" if name.replace("_", "").isalnum() else f"{at}[{name}]"


def _what(schema: Schema) -> str:
    return str(schema.get("description", "it is required"))


def _paths_of(schema: Schema, name: str, at: str = "") -> Iterator[str]:
    """Where a field of that name is known."""
    for key, inner in schema.get("properties", {}).items():
        path = f"{at}.{key}" if at else key
        if key.lower() == name.lower():
            yield path
        yield from _paths_of(inner, name, path)
    if "items" in schema:
        yield from _paths_of(schema["items"], name, f"{at}[]")
