"""Turns pydantic models into the structural schemas that an API server accepts for a CRD.

An API server refuses or silently drops much of what JSON Schema may hold: references, unions, null types, `const`,
defaults inside list items. Whatever has no counterpart raises NotStructural, so that no constraint gets lost.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from modelpress.api.rules import RULES, WHERE, Where

Schema = dict[str, Any]

_DROPPED = {"title", "$defs", "discriminator", "examples"}
_PLAIN = {
    *("type", "enum", "format", "pattern", "required", "nullable", "multipleOf"),
    *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
}
BOUND = "self >= "
"""A rule that begins so repeats a bound."""
_BOUNDS = (("maxItems", "array"), ("maxLength", "string"))
_SELF_BOUNDED = ("date-time", "duration")


class NotStructural(Exception):
    """A model says something that the schema of a CRD cannot say."""


def schema(model: type[BaseModel], where: Where = "Cluster") -> Schema:
    """The structural schema of a model, with the rules that hold in a cluster or locally."""
    raw = model.model_json_schema(by_alias=True)
    return _Converter(raw.get("$defs", {}), where).node(raw, model.__name__, ())


class _Converter:
    def __init__(self, definitions: dict[str, Schema], where: Where) -> None:
        self._definitions = definitions
        self._where = where
        self._in_items = 0

    def node(self, node: Schema, at: str, inside: tuple[str, ...]) -> Schema:
        """`at` is the path for error messages; `inside` are the definitions being expanded."""
        if reference := node.get("$ref", "").rsplit("/", 1)[-1]:
            return self._expanded(reference, node, at, inside)
        if node.get("x-kubernetes-int-or-string"):
            return self._int_or_string(node)
        for union in ("anyOf", "oneOf", "allOf"):
            if union in node:
                real = [option for option in node[union] if option.get("type") != "null"]
                if len(real) != 1:
                    raise NotStructural(f"{at}: a union; use one optional field per variant and a CEL rule")
                return self.node({**real[0], **{k: v for k, v in node.items() if k != union}}, at, inside)
        out: Schema = {}
        for key, value in node.items():
            self._key(out, key, value, at, inside)
        self._check(out, at)
        self._bound_integers(out)
        return dict(sorted(out.items()))

    def _expanded(self, reference: str, node: Schema, at: str, inside: tuple[str, ...]) -> Schema:
        """The definition in place of its reference; keys beside the reference win."""
        if reference in inside:
            raise NotStructural(f"{at}: {reference} contains itself")
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return self.node({**self._definitions[reference], **beside}, at, (*inside, reference))

    def _int_or_string(self, node: Schema) -> Schema:
        """Its anyOf stays."""
        return {
            key: value
            for key, value in sorted(node.items())
            if key not in _DROPPED and (key != "default" or (value is not None and not self._in_items))
        }

    def _key(self, out: Schema, key: str, value: Any, at: str, inside: tuple[str, ...]) -> None:
        if key in _DROPPED or (key == "additionalProperties" and not isinstance(value, dict)):
            return
        if key in ("properties", "items", "additionalProperties"):
            out[key] = self._below(key, value, at, inside)
        elif key == "default":
            if value is not None and not self._in_items:
                out[key] = without_nulls(value)
        elif key == RULES:
            if kept := [self._rule(rule) for rule in value if rule.get(WHERE, self._where) == self._where]:
                out[key] = kept
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            out[key.replace("exclusiveM", "m")], out[key] = value, True
        else:
            name, plain = _renamed(key, value, at)
            out[name] = plain

    def _below(self, key: str, value: Schema, at: str, inside: tuple[str, ...]) -> Schema:
        if key == "properties":
            return {name: self.node(sub, f"{at}.{name}", inside) for name, sub in sorted(value.items())}
        if key == "additionalProperties":
            return self.node(value, f"{at}[*]", inside)
        self._in_items += 1
        try:
            return self.node(value, f"{at}[]", inside)
        finally:
            self._in_items -= 1

    @staticmethod
    def _rule(rule: dict[str, str]) -> dict[str, str]:
        return {key: value for key, value in sorted(rule.items()) if key != WHERE}

    @staticmethod
    def _bound_integers(out: Schema) -> None:
        """An API server holds an integer against a fraction's whole part: 0 would pass a minimum of 0.1."""
        least = out.get("minimum")
        if isinstance(least, float) and not least.is_integer():
            said = f"{Decimal(str(least)):f}"
            out[RULES] = [*out.get(RULES, ()), {"message": f"must be at least {said}", "rule": f"{BOUND}{said}"}]

    @staticmethod
    def _check(out: Schema, at: str) -> None:
        if "type" not in out:
            raise NotStructural(f"{at}: no type")
        for bound, kind in _BOUNDS:
            is_bounded = bound in out or "enum" in out or out.get("format") in _SELF_BOUNDED
            if out["type"] == kind and not is_bounded:
                raise NotStructural(f"{at}: set {bound}; the CEL cost estimate needs it")
        if out["type"] == "object" and "additionalProperties" in out and "maxProperties" not in out:
            raise NotStructural(f"{at}: set maxProperties; the CEL cost estimate needs it")


def _renamed(key: str, value: Any, at: str) -> tuple[str, Any]:
    if key == "description":
        return key, " ".join(value.split())
    if key == "const":
        return "enum", [value]
    if key in _PLAIN or key.startswith("x-kubernetes-"):
        return key, list(value) if isinstance(value, list) else value
    raise NotStructural(f"{at}: {key} has no counterpart")


def without_nulls(value: Any) -> Any:
    """The value as the server keeps it: a null is an absent field."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value
