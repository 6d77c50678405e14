"""Probes of the server and of the sidecar before it.

The server opens its ports only when its model is loaded and warm, so an open port is all there is to ask: a GET on its
REST port would count as a request in its metrics. Whether the model is AVAILABLE is the sidecar's /readyz.
"""

from __future__ import annotations

import math
from typing import Any

Probe = dict[str, Any]
PERIOD_SECONDS = 5


def server_startup(rest_port: int, *, deadline_seconds: float) -> Probe:
    """Loading and warming up may take as long as a rollout."""
    failures = max(1, math.ceil(deadline_seconds / PERIOD_SECONDS))
    return {"tcpSocket": {"port": rest_port}, "periodSeconds": PERIOD_SECONDS, "failureThreshold": failures}


def server_liveness(rest_port: int) -> Probe:
    """Six failures in a minute mean that the server hangs."""
    return {"tcpSocket": {"port": rest_port}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6}


def sidecar_startup(admin_port: int) -> Probe:
    """The server's container starts after this: it must not ask for the server."""
    return {"httpGet": {"path": "/healthz", "port": admin_port}, "periodSeconds": 1, "failureThreshold": 60}


def sidecar_liveness(admin_port: int) -> Probe:
    """The proxy itself, whatever the server does."""
    return {"httpGet": {"path": "/healthz", "port": admin_port}, "periodSeconds": 10, "timeoutSeconds": 5}


def sidecar_readiness(admin_port: int) -> Probe:
    """The model is AVAILABLE and the pod is not draining."""
    return {"httpGet": {"path": "/readyz", "port": admin_port}, "periodSeconds": 2, "timeoutSeconds": 2}
