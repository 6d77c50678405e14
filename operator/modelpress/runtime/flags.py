"""Flags of TensorFlow Serving, sized by the container's CPUs and never by the node's.

The server starts in spite of an unknown flag and says so only in its log, so every flag here was checked against its
list for 2.20, and `modelpress serve` takes the same ones. Only the form `--name=value` is understood.
"""

from __future__ import annotations

from modelpress.api.serving import Batching

GRPC_THREADS = 4160
"""Above the greatest `concurrency.limit`: the sidecar limits requests, the server would refuse them without a word."""
REST_THREADS = 16
LOAD_RETRIES = 0
POLL_SECONDS = 60
"""Version directories never change after the server has started."""


def server_flags(
    model_name: str,
    base_path: str,
    *,
    threads: int,
    tflite: bool,
    rest_port: int,
    grpc_port: int = 0,
    grpc_socket: str | None = None,
    request_timeout_seconds: float = 30.0,
    batching: Batching | None = None,
    batching_file: str | None = None,
) -> tuple[str, ...]:
    """Flags for one model below `base_path/<version>/`.

    `threads` are whole CPUs; with `tflite` as many single-threaded interpreters are made. `grpc_port` 0 listens on
    `grpc_socket` only. `batching` needs `batching_file`, which holds `batching.parameters(...)`.
    """
    flags = {
        "model_name": model_name,
        "model_base_path": base_path,
        "port": grpc_port,
        **({"grpc_socket_path": grpc_socket} if grpc_socket else {}),
        "rest_api_port": rest_port,
        "rest_api_num_threads": rest_threads(threads, batching),
        "rest_api_timeout_in_ms": round(request_timeout_seconds * 1000),
        "grpc_max_threads": GRPC_THREADS,
        "tensorflow_intra_op_parallelism": threads,
        "tensorflow_inter_op_parallelism": threads,
        **({"prefer_tflite_model": "true", "num_tflite_pools": threads} if tflite else {}),
        **(
            {"enable_batching": "true", "batching_parameters_file": batching_file} if batching and batching_file else {}
        ),
        "file_system_poll_wait_seconds": POLL_SECONDS,
        "max_num_load_retries": LOAD_RETRIES,
        "enable_profiler": "false",
    }
    return tuple(f"--{name}={value}" for name, value in flags.items())


def rest_threads(threads: int, batching: Batching | None) -> int:
    """The listener takes one of them; a batch over REST fills only if all its rows can wait in a thread."""
    return max(REST_THREADS, 4 * threads, 2 * batching.max_batch_size + 2 if batching else 0)
