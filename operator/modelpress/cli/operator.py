"""`modelpress operator`: watch CompressedModels and keep them compressed, gated and served."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from modelpress import __version__


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(name="operator", short_help="Reconcile CompressedModels in a cluster.")(operator)


def operator(
    namespace: Annotated[list[str] | None, typer.Option(help="Watch this namespace; repeatable; absent: all.")] = None,
    lease_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Where the Lease lies by which one operator leads.")
    ] = "default",
    lease_name: Annotated[str, typer.Option(help="Name of the Lease.")] = "modelpress",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="/metrics; 0 switches it off.")] = 8080,
    health_port: Annotated[int, typer.Option(min=0, max=65535, help="/healthz and /readyz; 0: off.")] = 8081,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Reconciles at once.")] = 4,
    sidecar_period: Annotated[
        float, typer.Option(min=1, help="Seconds between two readings of sidecars whose cache mode is Auto.")
    ] = 60,
    default_store: Annotated[
        str | None, typer.Option(help="Store of models that name none; absent: a volume of each model's own.")
    ] = None,
    compressor_image: Annotated[
        str, typer.Option(help="Image of compression and evaluation Jobs.")
    ] = f"modelpress/compressor:{__version__}",
    sidecar_image: Annotated[
        str, typer.Option(help="Image of the cache sidecar and of fetch.")
    ] = f"modelpress/sidecar:{__version__}",
    server_image: Annotated[str, typer.Option(help="TensorFlow Serving.")] = "tensorflow/serving:2.20.0",
    log_format: Annotated[Literal["json", "text"], typer.Option(help="Form of the log.")] = "json",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Least level logged.")
    ] = "info",
) -> None:
    """Reconcile CompressedModels in a cluster (KUBECONFIG, or the pod's ServiceAccount)."""
    import asyncio
    import logging
    import os

    from modelpress.handlers import process
    from modelpress.manifests.installation import Installation
    from modelpress.reconcile import controller
    from modelpress.reconcile.reconciler import Reconciler
    from modelpress.telemetry import logs

    logs.configure(log_format, logging.getLevelNamesMapping()[log_level.upper()])
    here = os.environ.get("POD_NAMESPACE") or lease_namespace
    installation = Installation(compressor_image, sidecar_image, server_image, default_store, here)
    options = process.Options(
        namespaces=tuple(namespace or ()),
        lease_namespace=lease_namespace,
        lease_name=lease_name,
        metrics_port=metrics_port,
        health_port=health_port,
        workers=workers,
        sidecar_seconds=sidecar_period,
    )

    def reconciler(world: process.World) -> controller.Reconcile:
        return Reconciler(world.cluster, world.cache, world.recorder, installation, world.readings)

    try:
        asyncio.run(process.run(options, reconciler))
    except (process.NotFit, process.LostLease) as error:
        logging.getLogger(__name__).error(str(error))
        raise typer.Exit(1) from None
