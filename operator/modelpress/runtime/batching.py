"""The server's batching parameters, as the text it reads."""

from __future__ import annotations

from modelpress.api import duration
from modelpress.api.serving import Batching

MAX_ENQUEUED_BATCHES = 4096
"""The sidecar bounds what waits; a full queue in the server would be answered with UNAVAILABLE at once."""


def parameters(batching: Batching, *, threads: int) -> str:
    """Text form of `BatchingParameters`; `threads` batches run at once."""
    lines = [
        f"max_batch_size {{ value: {batching.max_batch_size} }}",
        f"batch_timeout_micros {{ value: {round(duration.seconds(batching.timeout) * 1e6)} }}",
        f"num_batch_threads {{ value: {threads} }}",
        f"max_enqueued_batches {{ value: {MAX_ENQUEUED_BATCHES} }}",
    ]
    if batching.pad_variable_length:
        lines.append("pad_variable_length_inputs: true")
    return "\n".join(lines) + "\n"
