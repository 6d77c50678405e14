"""grpc.health.v1.Health as trivial as TensorFlow Serving's: SERVING from the moment the port opens."""

from __future__ import annotations

from typing import Any

import grpc

from modelpress.server import protos

SERVICES = ("", "ModelService", "PredictionService")
_SERVING = 1


def handler() -> Any:
    """The generic handler of the service."""
    check = grpc.unary_unary_rpc_method_handler(
        _check,
        request_deserializer=protos.HealthCheckRequest.FromString,
        response_serializer=protos.HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})


def _check(request: Any, context: Any) -> Any:
    if request.service not in SERVICES:
        context.abort(grpc.StatusCode.NOT_FOUND, "")
    return protos.HealthCheckResponse(status=_SERVING)
