"""A model server as the evaluation reaches it, and whether its model is ready: REST only, no TensorFlow."""

from __future__ import annotations

import dataclasses
import http.client
import json
import time
from collections.abc import Callable

from modelpress.compress.signature import Signature

POLL_SECONDS = 0.05
CONSTANT = "-constant"
"""What follows a model's name in that of the constant-output model beside it."""


class DoesNotLoad(Exception):
    """The model did not become AVAILABLE; the message says what the server said, and how long it had."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A model server as the evaluation reaches it."""

    grpc: str
    """host:port."""
    rest: str
    """host:port."""
    model: str
    """Name of the served model."""
    peak_memory_bytes: Callable[[], int | None] = lambda: None
    """VmHWM of the server's process so far; None where it cannot be read."""
    description: str = "tensorflow_model_server"
    constant: str | None = None
    """Name of the constant-output model on the same server; None where it has none yet."""
    serve_constant: Callable[[Signature], str | None] | None = None
    """Has the server serve one and returns its name, None where that fails; None where the server takes no more."""


def wait_available(
    endpoint: Endpoint, *, timeout_seconds: float, is_running: Callable[[], bool] = lambda: True
) -> None:
    """Returns when a version of the model is AVAILABLE; raises DoesNotLoad when loading failed or time is up.

    `is_running` tells whether the server's process lives, where that is known.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        state, said = _state(endpoint)
        if state == "AVAILABLE":
            return
        if state == "END":
            raise DoesNotLoad(f"{endpoint.description} could not load the model: {said}")
        if not is_running():
            raise DoesNotLoad(f"{endpoint.description} ended before it had loaded the model")
        if time.monotonic() >= deadline:
            raise DoesNotLoad(f"{endpoint.description} had no available model after {timeout_seconds:g} s: {said}")
        time.sleep(POLL_SECONDS)


def _state(endpoint: Endpoint) -> tuple[str, str]:
    """State of the newest version, and what the server says about it."""
    host, _, port = endpoint.rest.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", f"/v1/models/{endpoint.model}")
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        return "UNREACHABLE", str(error) or type(error).__name__
    finally:
        connection.close()
    versions = answer.get("model_version_status", [])
    if not versions:
        return "UNKNOWN", str(answer.get("error", "no version"))
    available = next((one for one in versions if one["state"] == "AVAILABLE"), None)
    newest = available or max(versions, key=lambda one: int(one["version"]))
    status = newest.get("status", {})
    failed = newest["state"] == "END" and status.get("error_code", "OK") != "OK"
    state = newest["state"] if newest["state"] != "END" or failed else "UNKNOWN"
    return state, status.get("error_message") or str(newest["state"])
