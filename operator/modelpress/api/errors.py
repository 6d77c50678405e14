"""Errors that a user can act on; every part of modelpress raises these and nothing else for bad input."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with a file or resource: where, and a sentence with the value and the cure."""

    field: str
    """Path such as `spec.recipe.steps[0].prune.threshold`; empty for the whole document."""
    message: str
    reason: str = "Invalid"
    """CamelCase."""

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class Invalid(Exception):
    """Bad input: trying again cannot help, only a change by the user. A Job exits with 64 and reports it."""

    def __init__(self, reason: str, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.reason = reason
        self.field = field
        self.message = message


class Transient(Invalid):
    """What may work later without a change: a full disk, a store that does not answer. A Job is tried again."""


class InvalidResource(Invalid):
    """A file or object that is not a valid CompressedModel; `problems` has at least one entry."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        super().__init__(first.reason, first.message, field=first.field)
        self.problems = problems
