"""`modelpress validate`, `crds` and `schema`: the resource without a cluster."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer

from modelpress.api.errors import InvalidResource, Problem
from modelpress.api.message import EXIT_INVALID
from modelpress.api.resource import CompressedModel
from modelpress.api.rules import Where


class Judged(NamedTuple):
    """What is to be said about one file."""

    file: str
    resources: tuple[str, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def judge(file: str, text: str, where: Where) -> Judged:
    """All problems and warnings of a file: first what an API server refuses, then what this release does not honour."""
    from modelpress.api import document, support

    try:
        resources = document.parse(text, name=file, where=where)
    except InvalidResource as error:
        return Judged(file, (), error.problems, ())
    return Judged(
        file,
        tuple(resource.metadata.name for resource in resources),
        tuple(problem for resource in resources for problem in support.refusals(resource, where)),
        tuple(problem for resource in resources for problem in _warnings(resource, where)),
    )


def _warnings(resource: CompressedModel, where: Where) -> tuple[Problem, ...]:
    """What has no effect, and in a cluster what an operator without a default store would refuse."""
    from modelpress.api import support
    from modelpress.manifests import children
    from modelpress.manifests.installation import Installation

    refused = children.refusals(resource, Installation()) if where == "Cluster" else ()
    where_known = [one._replace(message=f"unless the operator has a default store: {one.message}") for one in refused]
    return (*support.reports(resource, where), *where_known)


def _texts(files: list[Path]) -> Iterator[tuple[str, str]]:
    for file in files:
        if str(file) == "-":
            yield "standard input", sys.stdin.read()
            continue
        try:
            yield str(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidResource((Problem("", f"{file} cannot be read: {error}", "Unreadable"),)) from error


def _print(judged: Judged) -> None:
    for problem in judged.problems:
        typer.echo(f"{judged.file}: {problem.reason}: {problem}", err=True)
    for warning in judged.warnings:
        typer.echo(f"{judged.file}: warning: {warning}", err=True)
    if not judged.problems:
        typer.echo(f"{judged.file}: {', '.join(judged.resources)} valid")


def _plain(judged: Judged) -> dict[str, Any]:
    return {
        "file": judged.file,
        "resources": list(judged.resources),
        "problems": [problem._asdict() for problem in judged.problems],
        "warnings": [warning._asdict() for warning in judged.warnings],
    }


def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files with CompressedModels; - reads standard input.")
    ] = None,
    filename: Annotated[
        list[Path] | None, typer.Option("--filename", "-f", help="A file, as for kubectl; may be repeated.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Judge as for `modelpress run`, not for a cluster.")] = False,
    output: Annotated[Literal["text", "json"], typer.Option(help="How to print.")] = "text",
) -> None:
    """Say what an API server and this release would refuse in FILES; ends with 64 if there is anything."""
    named = [*(files or ()), *(filename or ())]
    if not named:
        raise typer.BadParameter("name at least one file, or - for standard input", param_hint="FILES")
    judged = [judge(file, text, "Local" if local else "Cluster") for file, text in _texts(named)]
    if output == "json":
        typer.echo(json.dumps([_plain(entry) for entry in judged], indent=2, ensure_ascii=False))
    else:
        for entry in judged:
            _print(entry)
    if any(entry.problems for entry in judged):
        raise typer.Exit(EXIT_INVALID)


def crds() -> None:
    """Print the CustomResourceDefinition, for `kubectl apply --server-side -f -`."""
    from modelpress.api import crd

    typer.echo(crd.text(), nl=False)


def schema() -> None:
    """Print the JSON Schema of a file, for completion and checks in editors."""
    from modelpress.api import crd

    typer.echo(json.dumps(crd.editor_schema(), indent=2, ensure_ascii=False))


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command(short_help="Say what an API server and this release would refuse.")(validate)
    app.command(short_help="Print the CustomResourceDefinition.")(crds)
    app.command(short_help="Print the JSON Schema of a file, for editors.")(schema)
