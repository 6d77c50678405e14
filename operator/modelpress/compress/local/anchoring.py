"""A resource read from a file: relative paths start where the file lies, wherever the program was started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelpress.api import document, support
from modelpress.api.errors import Invalid, InvalidResource, Problem
from modelpress.api.resource import CompressedModel


def load(file: Path) -> tuple[CompressedModel, tuple[Problem, ...]]:
    """The one resource of a file, and what a local run does without.

    Raises InvalidResource for what is wrong or cannot be honoured, Invalid where there is more than one resource.
    """
    resources = document.load(file, where="Local")
    if len(resources) > 1:
        names = ", ".join(resource.metadata.name for resource in resources)
        raise Invalid("SeveralResources", f"{file} holds {names}; a run takes one: put each into a file of its own")
    (resource,) = resources
    problems = support.refusals(resource, "Local")
    if problems:
        raise InvalidResource(problems)
    return anchored(resource, file.resolve().parent), support.reports(resource, "Local")


def anchored(resource: CompressedModel, directory: Path) -> CompressedModel:
    """The resource with every relative path and `file:` URI made absolute."""
    return CompressedModel.model_validate(_anchored(resource.plain(), directory))


def _anchored(value: Any, directory: Path) -> Any:
    if isinstance(value, dict):
        return {
            name: absolute(inner, directory)
            if name == "uri" and isinstance(inner, str)
            else _anchored(inner, directory)
            for name, inner in value.items()
        }
    return [_anchored(inner, directory) for inner in value] if isinstance(value, list) else value


def absolute(uri: str, directory: Path) -> str:
    """A path as it is meant in a file in `directory`; other schemes stay as they are."""
    if uri.startswith("file:") and not uri.startswith("file:/"):
        uri = uri.removeprefix("file:")
    scheme, separator, _ = uri.partition(":")
    if separator and "/" not in scheme:
        return uri
    return str(directory / Path(uri).expanduser())
