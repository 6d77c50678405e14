"""Kubernetes quantities such as `256Mi`, `500m` or `2`: the type of a field, and the number behind it."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, WithJsonSchema

PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,6})?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$"
MAX_LENGTH = 20

Quantity = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=PATTERN, max_length=MAX_LENGTH)],
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": PATTERN,
            "maxLength": MAX_LENGTH,
            "minimum": 0,
        }
    ),
]
"""A whole number, or a string with a suffix."""

_FACTORS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
}
_PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")


def number(quantity: int | float | str) -> float:
    """Bytes, CPUs or pieces: `256Mi` is 268435456, `500m` is 0.5. Raises ValueError for anything else."""
    if isinstance(quantity, int | float):
        return float(quantity)
    found = _PARTS.fullmatch(quantity)
    if not found or found[2] not in _FACTORS:
        raise ValueError(f"{quantity!r} is not a quantity such as 500m, 2 or 256Mi")
    return float(found[1]) * _FACTORS[found[2]]
