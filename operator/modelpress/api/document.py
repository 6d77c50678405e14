"""Reads CompressedModels from files as kubectl would: YAML 1.2 numbers, nothing unknown, nothing given twice."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from modelpress.api import admission, bounds
from modelpress.api.base import API_VERSION, GROUP, KIND
from modelpress.api.errors import InvalidResource, Problem
from modelpress.api.resource import CompressedModel
from modelpress.api.rules import Where

_YAML_1_1_BOOLEANS = re.compile("^(?:y|Y|n|N|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF)$")
_EXPONENTIAL_IN_GO = 1e21
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


def load(path: Path | str, *, where: Where = "Local") -> list[CompressedModel]:
    """All CompressedModels of a file; raises InvalidResource with every problem, or where it holds none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidResource((Problem("", f"{path} cannot be read: {error.strerror}", "Unreadable"),)) from error
    except UnicodeDecodeError as error:
        raise InvalidResource((Problem("", f"{path} is not UTF-8 text: {error.reason}", "Unreadable"),)) from error
    return parse(text, name=str(path), where=where)


def parse(text: str, *, name: str = "input", where: Where = "Local") -> list[CompressedModel]:
    """The same for text; objects of other API groups beside them are left alone. `name` is for messages."""
    documents = list(_documents(text))
    ours, problems = [], []
    for document in documents:
        if complaint := _not_ours(document):
            problems.append(complaint)
        elif document["kind"] == KIND:
            ours.append(document)
    if not ours and not problems:
        kinds = ", ".join(sorted({str(document.get("kind")) for document in documents})) or "nothing"
        problems.append(Problem("kind", f"{name} holds {kinds}, but no {KIND}", "NoCompressedModel"))
    resources = []
    for document in ours:
        resource, found = resource_of(document, where=where)
        problems += _named(document, found) if len(ours) > 1 else found
        resources += [resource] if resource else []
    if problems:
        raise InvalidResource(tuple(problems))
    return resources


def resource_of(document: dict[str, Any], *, where: Where) -> tuple[CompressedModel | None, tuple[Problem, ...]]:
    """The resource of a JSON-ready document; None where there are problems."""
    admitted = admission.admit(document, where=where)
    if admitted.problems:
        return None, admitted.problems
    try:
        return CompressedModel.model_validate(admitted.document), ()
    except pydantic.ValidationError as error:
        return None, tuple(
            Problem(".".join(str(part) for part in entry["loc"]), f"{bounds.shown(entry['input'])}: {entry['msg']}")
            for entry in error.errors(include_url=False)
        )


def _named(document: dict[str, Any], problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Says which of several resources is meant."""
    name = (document.get("metadata") or {}).get("name", "without a name")
    return tuple(problem._replace(message=f"{problem.message} (in {KIND} {name})") for problem in problems)


def _not_ours(document: dict[str, Any]) -> Problem | None:
    """Tells a misspelt CompressedModel from another kind of object."""
    version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        missing = "kind" if isinstance(version, str) else "apiVersion"
        value = KIND if missing == "kind" else API_VERSION
        return Problem(missing, f"is missing: write {missing}: {value}", "Required")
    if kind == KIND and version != API_VERSION:
        return Problem("apiVersion", f"{version} is not known: write {API_VERSION}", "UnknownVersion")
    if version.split("/")[0] == GROUP and kind != KIND:
        return Problem("kind", f"{kind} is not known: write {KIND}", "UnknownKind")
    return None


def _documents(text: str) -> Iterator[dict[str, Any]]:
    reader = _reader()
    problems: list[Problem] = []
    try:
        for node in list(reader.compose_all(text)):
            problems += _bad_keys(node, "")
            if problems:
                continue
            document = reader.constructor.construct_document(node)
            if document is None:
                continue
            if not isinstance(document, dict):
                problems.append(Problem("", f"{bounds.shown(document)} is not a mapping with apiVersion and kind"))
            elif isinstance(document.get("items"), list) and str(document.get("kind", "")).endswith("List"):
                yield from (item for item in document["items"] if isinstance(item, dict))
            else:
                yield document
    except (YAMLError, ValueError) as error:
        problems.append(_unreadable(error))
    if problems:
        raise InvalidResource(tuple(problems))


def _unreadable(error: Exception) -> Problem:
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return Problem("", f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}", "NotYAML")
    return Problem("", f"is not YAML: {error}", "NotYAML")


def _bad_keys(node: Node, at: str) -> Iterator[Problem]:
    """Keys given twice, because readers differ in which one wins, and keys such as `y` that kubectl makes `"true"`."""
    if isinstance(node, MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = str(key.value)
            path = f"{at}.{name}" if at else name
            line = key.start_mark.line + 1
            if str(key.tag) not in (_TEXT, _MERGE):
                yield Problem(path, f"the key {name} in line {line} is not text to YAML: put it in quotes", "WrongType")
            elif name in lines and str(key.tag) != _MERGE:
                yield Problem(path, f"is given twice, in lines {lines[name]} and {line}: keep one", "Duplicate")
            lines[name] = line
            yield from _bad_keys(value, path)
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _bad_keys(item, f"{at}[{index}]")


class _Resolver(VersionedResolver):
    """YAML 1.2, but with the booleans of YAML 1.1, as in kubectl."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and _YAML_1_1_BOOLEANS.match(value):
            return Tag(suffix="tag:yaml.org,2002:bool")
        return super().resolve(kind, value, implicit)


class _Constructor(SafeConstructor):
    """Only what JSON knows, as kubectl writes it: dates stay text, 2.0 is 2, and there is no infinity."""

    def text(self, node: ScalarNode) -> str:
        return str(node.value)

    def finite(self, node: ScalarNode) -> int | float:
        number = float(self.construct_yaml_float(node))
        if not math.isfinite(number):
            raise ValueError(f"line {node.start_mark.line + 1}: {node.value} is not a number that JSON knows")
        return int(number) if number.is_integer() and abs(number) < _EXPONENTIAL_IN_GO else number


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.text)
_Constructor.add_constructor("tag:yaml.org,2002:float", _Constructor.finite)


def _reader() -> YAML:
    reader = YAML(typ="safe", pure=True)
    reader.Resolver = _Resolver
    reader.Constructor = _Constructor
    return reader
