"""`modelpress cache`: what the caches of a model hold and bring, and how to empty them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from modelpress.kube.sidecars import Reading

Output = Literal["text", "json"]
Name = Annotated[str | None, typer.Argument(help="Name of the CompressedModel; absent: --address.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace of the model; absent: the kubeconfig's.")
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address",
        help="host:port of a sidecar's administration port instead of a model's pods; may be repeated. For local runs,"
        " and for clusters where the API server does not reach pods (kubectl port-forward).",
    ),
]
Kubeconfig = Annotated[str | None, typer.Option(help="Absent: KUBECONFIG, else ~/.kube/config.")]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text: a table; json: one document.")]

cache = typer.Typer(help="What the caches of a model hold and bring, and how to empty them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.add_typer(cache, name="cache", short_help="What the caches of a model hold; empty them.")


@cache.command()
def stats(
    name: Name = None,
    namespace: Namespace = None,
    address: Addresses = None,
    kubeconfig: Kubeconfig = None,
    output: OutputOption = "text",
) -> None:
    """Hit ratio (hits / requests of the last five minutes), size and effect of the cache, for each pod."""
    from modelpress.kube import sidecars

    found = _asked(name, namespace, address, kubeconfig, "GET", "/state")
    rows = {reading.pod: sidecars.summary(reading.content) for reading in found if not reading.error}
    _told(found, {"pods": rows, "total": sidecars.total(rows.values())}, output, rows, _COLUMNS)


@cache.command()
def purge(
    name: Name = None,
    digest: Annotated[
        str | None, typer.Option(help="sha256:<hex> of an artifact: only its answers. Absent: all of the model.")
    ] = None,
    namespace: Namespace = None,
    address: Addresses = None,
    kubeconfig: Kubeconfig = None,
    output: OutputOption = "text",
) -> None:
    """Forget the answers of a model, in every tier of every pod; other models' answers stay."""
    query = f"?digest={digest}" if digest else ""
    found = _asked(name, namespace, address, kubeconfig, "POST", f"/purge{query}")
    rows = {reading.pod: dict(reading.content["purged"]) for reading in found if not reading.error}
    tiers = list(dict.fromkeys(tier for row in rows.values() for tier in row))
    _told(found, {"pods": rows}, output, rows, {tier: tier for tier in tiers})


_LINE = 4096
"""Columns: one pod is one line, as kubectl writes it, however narrow the terminal."""
_COLUMNS = {
    "mode": "mode",
    "hitRatio": "hit ratio",
    "requests": "requests",
    "hits": "hits",
    "misses": "misses",
    "entries": "entries",
    "bytes": "bytes",
    "effect": "effect",
}


def _asked(
    name: str | None,
    namespace: str | None,
    address: list[str] | None,
    kubeconfig: str | None,
    method: str,
    path: str,
) -> list[Reading]:
    """One reading for each pod or address, in their order. Raises Invalid where nobody can be asked."""
    import asyncio

    from modelpress.api.errors import Invalid
    from modelpress.kube import sidecars

    if bool(name) == bool(address):
        raise Invalid("NoSidecar", "give the name of a model, or --address of a sidecar", field="NAME")
    if address:
        return asyncio.run(sidecars.ask_addresses(address, method, path))
    try:
        return asyncio.run(sidecars.ask_pods(str(name), namespace, kubeconfig, method, path))
    except sidecars.NobodyThere as error:
        raise Invalid("NoSidecar", str(error), field="NAME") from error


def _told(
    found: list[Reading],
    document: dict[str, Any],
    output: Output,
    rows: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, str],
) -> None:
    """Ends with exit status 1 where somebody did not answer."""
    import json
    import sys

    from rich.console import Console
    from rich.table import Table

    errors = {reading.pod: reading.error for reading in found if reading.error}
    if output == "json":
        typer.echo(json.dumps({**document, "errors": errors}, indent=2))
    else:
        table = Table("pod", *columns.values(), box=None, pad_edge=False)
        for pod, row in rows.items():
            table.add_row(pod, *("" if row.get(key) is None else str(row[key]) for key in columns))
        Console(file=sys.stdout, width=_LINE).print(table)
        for pod, error in errors.items():
            Console(stderr=True).print(f"{pod}: {error}", highlight=False, markup=False, soft_wrap=True)
    if errors:
        raise typer.Exit(1)
