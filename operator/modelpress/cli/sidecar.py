"""`modelpress sidecar`: the response cache and concurrency limiter in front of a model server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the program."""
    app.command(short_help="Cache, limit and forward requests to a model server.")(sidecar)


def sidecar(
    model: Annotated[str, typer.Option(help="Name of the model in the server.")],
    artifact_digest: Annotated[str, typer.Option(help="sha256:<hex> of what is served; part of every cache key.")],
    upstream_grpc: Annotated[str, typer.Option(help="The server's gRPC address: host:port or unix:/path.")],
    upstream_rest: Annotated[str, typer.Option(help="The server's REST address: host:port or unix:/path.")],
    config_dir: Annotated[
        Path | None, typer.Option(help="Directory with sidecar.json, read again when it changes.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; empty: all.")] = "",
    grpc_port: Annotated[int, typer.Option(help="Port for gRPC; 0: any free one.", min=0, max=65535)] = 8500,
    rest_port: Annotated[int, typer.Option(help="Port for REST; 0: any free one.", min=0, max=65535)] = 8501,
    admin_port: Annotated[
        int, typer.Option(help="Port for /healthz, /readyz, /metrics, /state, /drain and /purge.", min=0, max=65535)
    ] = 9090,
    deterministic: Annotated[
        bool, typer.Option(help="Whether equal inputs give equal outputs; if not, nothing is cached.")
    ] = True,
    disk_dir: Annotated[
        Path | None, typer.Option(help="Directory of the disk tier, this sidecar's own; absent: no disk tier.")
    ] = None,
    redis_url_file: Annotated[
        Path | None, typer.Option(help="File with the URL of a Redis or Valkey server; absent: no shared tier.")
    ] = None,
    prefetch_file: Annotated[
        Path | None, typer.Option(help="TFRecord file of PredictionLogs, asked before anybody else does.")
    ] = None,
) -> None:
    """Answer for a model: from the cache where it can, with a limited number of requests in the model at once."""
    import asyncio
    import logging

    from modelpress.sidecar import address, process
    from modelpress.sidecar.key import Identity

    settings = process.Settings(
        identity=Identity(_name(model), _digest(artifact_digest)),
        upstream_grpc=address.parse(upstream_grpc, field="--upstream-grpc"),
        upstream_rest=address.parse(upstream_rest, field="--upstream-rest"),
        config_directory=config_dir,
        host=host,
        grpc_port=grpc_port,
        rest_port=rest_port,
        admin_port=admin_port,
        deterministic=deterministic,
        disk_directory=disk_dir,
        redis_url_file=redis_url_file,
        prefetch_file=prefetch_file,
    )

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    async def main() -> None:
        await process.Sidecar(settings).run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """uvloop where it is installed: a miss costs a third less; None is asyncio's own."""
    import importlib.util

    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop

    factory: Callable[[], AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _name(model: str) -> str:
    from modelpress.api.errors import Invalid

    if not model:
        raise Invalid("InvalidFlag", "'' is no name; write that of the model in the server", field="--model")
    return model


def _digest(text: str) -> str:
    """Only a digest of the content will do: by a name or version number, old answers would outlive new weights."""
    import re

    from modelpress.api.errors import Invalid

    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise Invalid(
            "InvalidDigest", f"{text!r} is no digest; write sha256: and 64 hex digits", field="--artifact-digest"
        )
    return text
