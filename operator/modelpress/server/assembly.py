"""The parts of a server put together as the flags say."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from modelpress.server import configs, health, loading, protos, rest, rpc
from modelpress.server.failure import Failure
from modelpress.server.flags import Value
from modelpress.server.metrics import Metrics
from modelpress.server.versions import Retries, Versions

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Assembled:
    """A server that has its models but does not listen yet."""

    versions: Versions
    metrics: Metrics


def assemble(flags: Mapping[str, Value]) -> Assembled:
    """Load the initial models and wait for them; raises Failure."""
    tf.get_logger().setLevel(logging.ERROR)
    if not flags["xla_cpu_compilation_enabled"] and not flags["xla_gpu_compilation_enabled"]:
        loading.disable_xla()
    metrics = Metrics()
    loader = loading.Loader(
        flags=flags,
        config=loading.session_config(flags),
        metrics=metrics,
        scheduler=loading.scheduler(flags, metrics),
    )
    versions = Versions(
        loader.load,
        poll_seconds=float(flags["file_system_poll_wait_seconds"]),
        retries=Retries(int(flags["max_num_load_retries"]), int(flags["load_retry_interval_micros"]) / 1e6),
        labels_for_unavailable=bool(flags["allow_version_labels_for_unavailable_models"]),
    )
    versions.configure(_models(flags))
    period = int(flags["model_config_file_poll_wait_seconds"])
    if flags["model_config_file"] and period > 0:
        threading.Thread(target=_reread, args=(versions, flags, period), name="config", daemon=True).start()
    return Assembled(versions, metrics)


def listen(assembled: Assembled, flags: Mapping[str, Value], *, host: str | None) -> tuple[Any, rest.Server | None]:
    """Open the ports, gRPC first; raises Failure. `host` None is every interface."""
    rpc_server = rpc.start(
        assembled.versions,
        assembled.metrics,
        addresses=addresses(flags, host),
        threads=max(1, int(flags["grpc_max_threads"])),
        check_methods=bool(flags["enable_signature_method_name_check"]),
        as_content=bool(flags["enable_serialization_as_tensor_content"]),
        options=_channel_arguments(str(flags["grpc_channel_arguments"])),
        handlers=[health.handler()] if flags["enable_grpc_healthcheck_service"] else (),
    )
    if not flags["rest_api_port"]:
        return rpc_server, None
    rest_server = rest.Server(
        rest.Handler(
            assembled.versions, assembled.metrics, check_methods=bool(flags["enable_signature_method_name_check"])
        ),
        host=host,
        port=int(flags["rest_api_port"]),
        threads=max(1, int(flags["rest_api_num_threads"])),
        timeout_seconds=int(flags["rest_api_timeout_in_ms"]) / 1000,
        cors=bool(flags["rest_api_enable_cors_support"]),
        metrics_path=_metrics_path(str(flags["monitoring_config_file"])),
        page=assembled.metrics.page,
    )
    return rpc_server, rest_server


def _models(flags: Mapping[str, Value]) -> Sequence[configs.Model]:
    if flags["model_config_file"]:
        return configs.models(
            configs.read(str(flags["model_config_file"]), model_server_config_pb2.ModelServerConfig())
        )
    return [configs.Model(str(flags["model_name"]), str(flags["model_base_path"]))]


def _reread(versions: Versions, flags: Mapping[str, Value], period: int) -> None:
    while not versions.stopped.wait(period):
        try:
            versions.configure(_models(flags))
        except Failure as failure:
            log.error("Re-reading %s failed, the configuration stays: %s", flags["model_config_file"], failure)


def addresses(flags: Mapping[str, Value], host: str | None) -> Sequence[str]:
    """Where gRPC listens."""
    tcp = [f"{host or '0.0.0.0'}:{flags['port']}"] if flags["port"] else []  # noqa: S104 - as TensorFlow Serving
    socket = [f"unix:{flags['grpc_socket_path']}"] if flags["grpc_socket_path"] else []
    return [*tcp, *socket]


def _channel_arguments(text: str) -> Sequence[tuple[str, int | str]]:
    pairs = [item.partition("=") for item in text.split(",") if item]
    return [(name, int(value) if value.lstrip("-").isdigit() else value) for name, _, value in pairs]


def _metrics_path(path: str) -> str | None:
    if not path:
        return None
    prometheus = configs.read(path, protos.MonitoringConfig()).prometheus_config
    return (prometheus.path or protos.METRICS_PATH) if prometheus.enable else None
