"""The command line of tensorflow_model_server, flag by flag; a flag that it does not have is an error here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from modelpress.api.errors import Invalid

Value: TypeAlias = bool | int | float | str


@dataclasses.dataclass(frozen=True, slots=True)
class Flag:
    """One flag; the type is that of the default."""

    name: str
    default: Value
    doc: str
    standing: Literal["honoured", "ignored", "refused"] = "honoured"
    """Ignored flags are accepted and named in the log; refused ones end the start when they are set."""


def processors() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


FLAGS: tuple[Flag, ...] = (
    Flag("port", 8500, "gRPC port; 0 for none"),
    Flag("grpc_socket_path", "", "UNIX socket to listen on for gRPC as well"),
    Flag("rest_api_port", 0, "HTTP port; 0 for none"),
    Flag("rest_api_num_threads", 4 * processors(), "requests that HTTP runs at once"),
    Flag("rest_api_timeout_in_ms", 30000, "an HTTP request fails with 504 after this"),
    Flag("rest_api_enable_cors_support", False, "CORS headers in HTTP responses"),
    Flag("enable_batching", False, "gather concurrent requests into batches"),
    Flag("batching_parameters_file", "", "BatchingParameters in text format"),
    Flag("enable_per_model_batching_parameters", False, "batching_params.pbtxt in each version", "refused"),
    Flag("allow_version_labels_for_unavailable_models", False, "new labels may name versions not yet loaded"),
    Flag("model_config_file", "", "ModelServerConfig in text format; model_name and model_base_path are then ignored"),
    Flag("model_config_file_poll_wait_seconds", 0, "seconds between readings of the file; 0 reads it once"),
    Flag("model_name", "default", "name of the model"),
    Flag("model_base_path", "", "absolute directory of the version directories"),
    Flag("num_load_threads", 0, "versions load one after the other", "ignored"),
    Flag("num_unload_threads", 0, "versions unload one after the other", "ignored"),
    Flag("max_num_load_retries", 5, "how often a failed load is tried again"),
    Flag("load_retry_interval_micros", 60_000_000, "microseconds between them; negative for none"),
    Flag("file_system_poll_wait_seconds", 1, "seconds between looks for versions; 0 once, negative never"),
    Flag("flush_filesystem_caches", True, "there are none to flush here", "ignored"),
    Flag("tensorflow_session_parallelism", 0, "threads of both kinds; 0 for automatic"),
    Flag("tensorflow_intra_op_parallelism", 0, "threads within an operation; 0 for automatic"),
    Flag("tensorflow_inter_op_parallelism", 0, "operations at once; 0 for automatic"),
    Flag("tensorflow_session_config_file", "", "ConfigProto in text format"),
    Flag("platform_config_file", "", "PlatformConfigMap in text format", "refused"),
    Flag("grpc_channel_arguments", "", "key=value,key=value for the gRPC server"),
    Flag("grpc_max_threads", 4 * processors(), "gRPC calls at once; more get RESOURCE_EXHAUSTED"),
    Flag("use_alts_credentials", False, "Google ALTS", "refused"),
    Flag("ssl_config_file", "", "TLS", "refused"),
    Flag("per_process_gpu_memory_fraction", 0.0, "share of a GPU's memory"),
    Flag("saved_model_tags", "serve", "tags of the graph to load, comma-separated"),
    Flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before serving"),
    Flag("num_request_iterations_for_warmup", 0, "times each record runs; 0 is once"),
    Flag("version", False, "print the version and exit"),
    Flag("monitoring_config_file", "", "MonitoringConfig in text format; needs rest_api_port"),
    Flag("remove_unused_fields_from_bundle_metagraph", True, "only signatures are ever kept here", "ignored"),
    Flag("prefer_tflite_model", False, "serve model.tflite of a version that has one"),
    Flag("num_tflite_pools", processors(), "TFLite interpreters of a version, so TFLite requests at once"),
    Flag("num_tflite_interpreters_per_pool", 1, "more than 1 switches on a second scheduler", "ignored"),
    Flag("enable_signature_method_name_check", False, "refuse signatures with a method_name not of the call"),
    Flag("xla_cpu_compilation_enabled", False, "let graphs be compiled by XLA"),
    Flag("xla_gpu_compilation_enabled", False, "let graphs be compiled by XLA"),
    Flag("enable_profiler", True, "there is no profiler here, whatever it says"),
    Flag("thread_pool_factory_config_file", "", "a C++ extension", "refused"),
    Flag("mixed_precision", "", "bfloat16 runs matrix products of SavedModels in it"),
    Flag("skip_initialize_tpu", False, "there are no TPUs here", "ignored"),
    Flag("enable_grpc_healthcheck_service", False, "grpc.health.v1.Health on the gRPC port"),
    Flag("enable_serialization_as_tensor_content", False, "gRPC outputs as tensor_content"),
)

_BY_NAME = {flag.name: flag for flag in FLAGS}
_BOOLEANS = {"true": True, "1": True, "": True, "false": False, "0": False}


def parse(arguments: Sequence[str]) -> Mapping[str, Value]:
    """Every flag's value, the last of repeated ones; raises Invalid for a flag or a value that is not known."""
    values: dict[str, Value] = {flag.name: flag.default for flag in FLAGS}
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        flag = _BY_NAME.get(name)
        if flag is None or not argument.startswith("--"):
            raise Invalid("UnknownFlag", f"{argument} is no flag of tensorflow_model_server (they are --name=value)")
        if not equals and not isinstance(flag.default, bool):
            raise Invalid("InvalidFlag", f"--{name} needs a value: --{name}=…", field=f"--{name}")
        values[name] = _value(flag, text)
        if flag.standing == "refused" and values[name] != flag.default:
            raise Invalid("UnsupportedFlag", f"modelpress serve has no {flag.doc}; leave it out", field=f"--{name}")
    _check(values)
    return values


def unheeded(values: Mapping[str, Value]) -> Sequence[str]:
    """A sentence for each flag that was set and changes nothing."""
    return [
        f"--{flag.name} changes nothing: {flag.doc}"
        for flag in FLAGS
        if flag.standing == "ignored" and values[flag.name] != flag.default
    ]


def usage() -> str:
    """All flags with their defaults, one a line."""
    lines = [f"  --{flag.name}={str(flag.default).lower():<12} {flag.doc}" for flag in FLAGS]
    return "\n".join(["Flags of tensorflow_model_server, as --name=value:", *lines])


def _value(flag: Flag, text: str) -> Value:
    try:
        if isinstance(flag.default, bool):
            return _BOOLEANS[text.lower()]
        return type(flag.default)(text)
    except (KeyError, ValueError):
        kind = type(flag.default).__name__
        raise Invalid("InvalidFlag", f"{text!r} is not a value of type {kind}", field=f"--{flag.name}") from None


def _check(values: Mapping[str, Value]) -> None:
    parallelism = (
        "tensorflow_session_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
    )
    if all(int(values[name]) > 0 for name in parallelism):
        raise Invalid(
            "InvalidFlag", "is set together with intra and inter op parallelism; leave it out", field=parallelism[0]
        )
    if values["version"]:
        return
    if not values["model_base_path"] and not values["model_config_file"]:
        raise Invalid(
            "InvalidFlag", "give --model_base_path=/dir or --model_config_file=/file", field="--model_base_path"
        )
    if values["batching_parameters_file"] and not values["enable_batching"]:
        raise Invalid("InvalidFlag", "is set without --enable_batching=true", field="--batching_parameters_file")
    if not values["port"] and not values["grpc_socket_path"]:
        raise Invalid("InvalidFlag", "is 0 and --grpc_socket_path is empty; give one of them", field="--port")
    if values["rest_api_port"] and values["rest_api_port"] == values["port"]:
        raise Invalid("InvalidFlag", "is the same as --port; give another", field="--rest_api_port")
