"""Durations such as `30s`, `1h30m` or `2ms`: the type of a field, and its seconds."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

PATTERN = r"^([0-9]{1,5}(ms|s|m|h)){1,4}$"

Duration = Annotated[str, Field(pattern=PATTERN, max_length=24)]
"""Whole numbers with a unit, ms, s, m or h; several add up."""

_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
_WHOLE = re.compile(PATTERN)


def seconds(text: str) -> float:
    """Seconds of a duration; raises ValueError where it is none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s or 1h30m")
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))
