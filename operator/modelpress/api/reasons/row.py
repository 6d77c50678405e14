"""What is told of a reason."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """One reason in one kind of place; where a name means two things it has two rows, in two sections."""

    name: str
    """CamelCase, as it is written in the code."""
    where: str
    cause: str
    cure: str
    """What to do; why nothing needs to be done, where that is so."""


class Section(NamedTuple):
    """Reasons that are met in the same kind of place."""

    title: str
    about: str
    """Markdown."""
    rows: tuple[Reason, ...]
