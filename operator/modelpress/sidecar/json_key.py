"""Canonical keys of REST requests: white space, escapes and the order of object members do not matter, all else does.

Numbers are compared as they are written: `1` and `1.0` are different questions (TF Serving refuses the second for an
integer input), and its parser may round decimals by a few ULP, so that another spelling may get another answer.
"""

from __future__ import annotations

import json
from typing import Any

from modelpress.sidecar.key import Identity, Part, common, digest

LARGEST_CANONICAL = 2**18
"""Bytes. Longer bodies are keyed by their bytes alone: parsing takes long and twenty times their size in memory."""


FORMS = {"instances": b"row", "inputs": b"columnar"}
"""The member that holds the inputs decides the form of the answer; both or neither is an error of the server."""
SIGNATURE = "signature_name"


class _NotCanonical(Exception):
    """The body has no canonical form that is certain to mean the same."""


def _members(pairs: list[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """An object as sorted pairs; with a member twice the server reads the first and others the last."""
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise _NotCanonical
    return tuple(sorted(pairs, key=lambda pair: pair[0]))


# Numbers become bytes and strings stay text, so that the two cannot be mistaken for each other.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=str.encode,
    parse_int=str.encode,
    parse_constant=str.encode,
)


def members(body: bytes) -> dict[str, Any] | None:
    """The members of a JSON object, None where the body is no object or has no canonical form that is certain."""
    if len(body) > LARGEST_CANONICAL:
        return None
    try:
        value = _DECODER.decode(body.decode())
    except (ValueError, RecursionError, _NotCanonical):
        return None
    return dict(value) if isinstance(value, tuple) else None


def predict(identity: Identity, version: int, body: bytes, origin: bytes) -> bytes:
    """The canonical key of a predict request for the version that answers; `origin` is the header, empty if absent."""
    return digest(predict_parts(identity, version, body, origin))


def predict_parts(identity: Identity, version: int, body: bytes, origin: bytes) -> list[tuple[Part, bytes]]:
    """All that the answer to a REST predict request depends on."""
    parts = [*common(identity, version, "rest/predict"), (Part.ORIGIN, origin)]
    found = members(body)
    if found is None or not _is_plain(found):
        return [*parts, (Part.FORM, b"bytes"), (Part.BODY, body)]
    (member,) = FORMS.keys() & found.keys()
    try:
        value = _literal(found.pop(member))
        signature = _literal(found.pop(SIGNATURE, None))  # None: absent, as null is not plain
        others = _literal(sorted(found.items()))
    except RecursionError:
        return [*parts, (Part.FORM, b"bytes"), (Part.BODY, body)]
    return [
        *parts,
        (Part.SIGNATURE, signature),
        (Part.FORM, FORMS[member]),
        (Part.CONTENT, value),
        (Part.BODY, others),
    ]


def _is_plain(found: dict[str, Any]) -> bool:
    """Whether the members have the types that the server asks for: what it refuses, null among it, is no question."""
    return len(FORMS.keys() & found.keys()) == 1 and isinstance(found.get(SIGNATURE, ""), str)


def _literal(value: Any) -> bytes:
    """As Python source of lists, tuples, str, bytes, bool and None, which could be read back, hence injective."""
    return ascii(value).encode()
