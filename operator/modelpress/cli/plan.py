"""`modelpress plan`: the objects that the operator would make for a file, without a cluster."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from modelpress import __version__


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(short_help="Print the objects that a file would make in a cluster.")(plan)


def plan(
    file: Annotated[Path, typer.Argument(help="File with CompressedModels.")],
    default_store: Annotated[str | None, typer.Option(help="As given to the operator.")] = None,
    compressor_image: Annotated[
        str, typer.Option(help="As given to the operator.")
    ] = f"modelpress/compressor:{__version__}",
    sidecar_image: Annotated[str, typer.Option(help="As given to the operator.")] = f"modelpress/sidecar:{__version__}",
    server_image: Annotated[str, typer.Option(help="As given to the operator.")] = "tensorflow/serving:2.20.0",
    form: Annotated[Literal["TFLite", "SavedModel"], typer.Option(help="Form to assume of what is served.")] = "TFLite",
) -> None:
    """Print, as YAML, what would be made at once, after compression, and after the gate; nothing is sent anywhere."""
    from modelpress.api import document, support
    from modelpress.api.errors import InvalidResource
    from modelpress.manifests import children, preview
    from modelpress.manifests.installation import Installation

    assumed = preview.Assumed(form=form)
    installation = Installation(compressor_image, sidecar_image, server_image, default_store)
    models = document.load(file, where="Cluster")
    refused = [(*support.refusals(model, "Cluster"), *children.refusals(model, installation)) for model in models]
    if problems := tuple(problem for found in refused for problem in found):
        raise InvalidResource(problems)
    for model in models:
        for reported in support.reports(model, "Cluster"):
            typer.echo(f"warning: {reported}", err=True)
        for section in preview.of(model, installation, assumed):
            typer.echo(f"# {preview.name_of(model)}. {section.note}\n{_text(section.manifests)}", nl=False)


def _text(manifests: tuple[dict[str, Any], ...]) -> str:
    from ruamel.yaml import YAML

    writer = YAML()
    writer.width = 4096
    writer.representer.ignore_aliases = lambda _: True
    out = io.StringIO()
    for manifest in manifests:
        out.write("---\n")
        writer.dump(manifest, out)
    return out.getvalue()
