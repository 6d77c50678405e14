"""Rules beyond types and bounds: CEL in the schema of the CRD, evaluated by the API server and, word for word, by us.

What both evaluators understand: has, the one-variable macros, matches, startsWith, size, `in`, `?:`, duration(),
quantity().compareTo(), isSorted(), string() and format with %s and %d. No optionals (`.?`), no two-variable macros.
A rule sits on the deepest node that has its fields, never at the root: a root rule is checked on every write and can
make an object undeletable.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict

RULES = "x-kubernetes-validations"
WHERE = "where"
"""Key of our own beside a rule; the schema generator takes it out."""

Where = Literal["Cluster", "Local"]
"""Who honours the resource: the operator in a cluster, or `modelpress run` on this machine."""


class Rule(NamedTuple):
    """True is fine; `message` says what is wrong and what to do instead."""

    cel: str
    message: str
    field: str = ""
    """Path of the field to blame, below the node, e.g. `.epochs`."""
    says: str = ""
    """CEL for a message with the offending value. Traps: string(<int>) is over the cost budget, '%d'.format is not."""
    where: Where | None = None
    """None: everywhere."""

    def plain(self) -> dict[str, str]:
        """The entry of x-kubernetes-validations."""
        entry = {
            "rule": self.cel,
            "message": self.message,
            "fieldPath": self.field,
            "messageExpression": self.says,
            WHERE: self.where or "",
        }
        return {key: value for key, value in entry.items() if value}


def extra(*rules: Rule, **others: Any) -> dict[str, Any]:
    """Schema keys of a field or type that must obey the rules."""
    return {**others, RULES: [rule.plain() for rule in rules]}


def checked(*rules: Rule, **others: Any) -> ConfigDict:
    """`model_config` of a model that must obey the rules."""
    return ConfigDict(json_schema_extra=extra(*rules, **others))


_REMOTE = "^(pvc|s3|gs|az|https?|hf|oci)://[^/@?#]+(/[^?#]*)?$"
_LOCAL = "^(file:[^?#]+|[^:?#]+)$"
_NO_CREDENTIALS = "without user, password, query or fragment; credentials go into a Secret named by secretRef"


def uri(*, optional: bool = False) -> tuple[Rule, Rule]:
    """Rules of a field `uri`. They sit on the parent, because the server would echo a secret in a field of its own."""
    unless = "!has(self.uri) || " if optional else ""
    return (
        Rule(
            f"{unless}self.uri.matches('{_REMOTE}')",
            f"must be pvc|s3|gs|az|http|https|hf|oci://place/path {_NO_CREDENTIALS}; file: and paths are for"
            " `modelpress run` (and `validate --local`)",
            field=".uri",
            where="Cluster",
        ),
        Rule(
            f"{unless}self.uri.matches('{_REMOTE}') || self.uri.matches('{_LOCAL}')",
            f"must be a path, file:path or pvc|s3|gs|az|http|https|hf|oci://place/path {_NO_CREDENTIALS}",
            field=".uri",
            where="Local",
        ),
    )
