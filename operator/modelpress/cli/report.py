"""`modelpress report` and `modelpress trials`: what a run on this machine found, shown again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from modelpress.cli import terminal

if TYPE_CHECKING:
    from modelpress.api.resource import CompressedModel
    from modelpress.compress.local.trials import Tried
    from modelpress.compress.report.document import Report

Output = Literal["text", "json", "html"]
FILE = typer.Option("--file", "-f", help="File with one CompressedModel that was run on this machine.")
STORE = typer.Option(help="Where its results are kept; absent: as for `modelpress run`.")
ARTIFACT = typer.Option(help="Folder of the artifact instead of --file.")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command(short_help="Show what the last run of a file found.")(report)
    app.command(short_help="List what the search for a file tried.")(trials)


def report(
    file: Annotated[Path | None, FILE] = None,
    store: Annotated[str | None, STORE] = None,
    artifact: Annotated[Path | None, ARTIFACT] = None,
    output: Annotated[
        Output, typer.Option(help="text: tables; html: the path of the page; json: the document.")
    ] = "text",
) -> None:
    """Show the report of the last run of FILE: source beside candidates, verdicts, trials, and what is served."""
    from modelpress.compress.report import page

    found, directory = latest(file, store, artifact)
    if output == "json":
        typer.echo((directory / page.DOCUMENT).read_text())
    elif output == "html":
        typer.echo(str(directory / page.PAGE))
    else:
        _show(found)


def trials(
    file: Annotated[Path | None, FILE] = None,
    store: Annotated[str | None, STORE] = None,
    artifact: Annotated[Path | None, ARTIFACT] = None,
    output: Annotated[Literal["text", "json"], typer.Option(help="json: a list, in the order of trying.")] = "text",
) -> None:
    """List what the search for FILE tried, so far if it runs: recipe, metric, size, latency and verdict of each."""
    import json

    from modelpress.compress.report import tables
    from modelpress.compress.search import front

    found = _tried(file, store, artifact)
    if output == "json":
        typer.echo(json.dumps([trial.plain() for trial in found.trials], indent=1))
        return
    if found.trials:
        terminal.console(sys.stdout).print(tables.trials(found.trials))
        typer.echo(("So far: " if found.artifact is None else "") + front.summary(found.trials))
    elif found.artifact is not None:
        typer.echo("Nothing was searched for: the recipe names its steps")
    else:
        typer.echo("No trial has ended yet")
    for one in found.unfinished:
        typer.echo(f"Being tried now, or cut off: {one}")


def _tried(file: Path | None, store: str | None, artifact: Path | None) -> Tried:
    """By the request's key, also while the search runs; else of the last run, if the file was changed since."""
    from modelpress.api.artifact import ArtifactManifest
    from modelpress.compress.local import anchoring, trials
    from modelpress.storage.layout import MANIFEST

    if file is not None and artifact is None:
        resource, _ = anchoring.load(file)
        found = _searched(resource, file, store)
        if found is not None:
            return found
    directory = artifact if artifact is not None and file is None else latest(file, store, artifact)[1]
    return trials.Tried(ArtifactManifest.from_json(_read(directory / MANIFEST)).trials, directory)


def _show(found: Report) -> None:
    from modelpress.compress.report import tables

    console = terminal.console(sys.stdout)
    if found.candidates:
        console.print(tables.comparison(found), "")
    console.print(tables.verdicts(found))
    for warning in tables.warnings(found):
        console.print(f"{warning}\n", style="yellow", highlight=False, markup=False)
    if found.trials:
        console.print(tables.trials(found.trials))
    if found.traffic:
        console.print(tables.traffic(found.traffic))
    console.print(tables.decision(found.decision))


def latest(file: Path | None, store: str | None, artifact: Path | None) -> tuple[Report, Path]:
    """The report, and the folder of its artifact. Raises Invalid `NotFound`."""
    from modelpress.api.errors import Invalid
    from modelpress.compress.local import anchoring, session
    from modelpress.compress.report import page
    from modelpress.compress.report.document import Report
    from modelpress.storage import layout

    if artifact is not None and file is None:
        return Report.model_validate_json(_read(artifact / page.DOCUMENT)), artifact
    if file is None or artifact is not None:
        raise Invalid("Invalid", "name either the file of a resource or the folder of an artifact", field="--file")
    resource, _ = anchoring.load(file)
    name, namespace = resource.metadata.name, resource.metadata.namespace or "default"
    place = session.store(session.Options(file, store), resource)
    folder = layout.opened(place, namespace).artifact("any").parent
    documents = sorted(folder.glob(f"*/{page.DOCUMENT}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in documents:
        found = Report.model_validate_json(path.read_bytes())
        if found.name == name:
            return found, path.parent
    raise Invalid("NotFound", f"{folder} has no report of {name}; {_cure(resource, file, store)}", field="--file")


def _cure(resource: CompressedModel, file: Path, store: str | None) -> str:
    """What writes a report, as `compress` does not."""
    found = _searched(resource, file, store)
    if found is None:
        return f"run `modelpress run -f {file}` first"
    if found.artifact is None:
        return f"it is being searched for, or was cut off: see `modelpress trials -f {file}`, go on by `modelpress run`"
    return (
        f"`modelpress compress` measures no candidate through model servers: `modelpress run -f {file}` does, and "
        f"takes what it left in {found.artifact}"
    )


def _searched(resource: CompressedModel, file: Path, store: str | None) -> Tried | None:
    """By the request's key; None where nothing was begun, and where the source can no longer be read."""
    from modelpress.api.errors import Invalid
    from modelpress.compress.local import session
    from modelpress.compress.local import trials as searched

    try:
        return searched.of_resource(resource, session.Options(file, store))
    except Invalid:  # the run that is to come tells what is wrong with the source
        return None


def _read(path: Path) -> bytes:
    from modelpress.api.errors import Invalid

    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid("NotFound", f"{path} cannot be read: {error.strerror}", field="--artifact") from error
