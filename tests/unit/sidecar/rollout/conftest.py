"""Two models side by side: both double their input, and one can be made to err."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from modelpress.sidecar.wire_pb2 import PredictAnswer, PredictRequest

CANDIDATE = "sha256:" + "c" * 64


def doubling(base: Any) -> Any:
    """An Upstream whose answers are y = 2 x + `noise`."""

    class Doubling(base):  # type: ignore[misc]
        noise = 0.0

        async def grpc(self, method: str, request: bytes, context: Any) -> bytes:
            await super().grpc(method, request, context)
            if not method.endswith("/Predict"):
                return f"{method} by {self.version}".encode()
            asked = PredictRequest.FromString(request)
            answer = PredictAnswer()
            answer.model_spec.name, answer.model_spec.version.value = asked.model_spec.name, self.version
            x = asked.inputs["x"]
            values = struct.unpack(f"<{len(x.tensor_content) // 4}f", x.tensor_content)
            answer.outputs["y"].CopyFrom(x)
            doubled = [2 * value + self.noise for value in values]
            answer.outputs["y"].tensor_content = struct.pack(f"<{len(doubled)}f", *doubled)
            return answer.SerializeToString()

        async def _rest(self, request: web.Request) -> web.Response:
            if request.method == "GET":
                return await super()._rest(request)
            await self.work(request.path)
            self.metadata.append(dict(request.headers))
            if self.error is not None:
                return web.json_response({"error": self.error[1]}, status=500)
            rows = json.loads(await request.read())["instances"]
            return web.json_response({"predictions": [[2 * value + self.noise for value in row] for row in rows]})

    return Doubling


@pytest.fixture
async def upstream(upstream: Any) -> AsyncIterator[Any]:
    """The current model: version 7."""
    server = doubling(type(upstream))()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def candidate(upstream: Any) -> AsyncIterator[Any]:
    """The candidate: version 8."""
    server = type(upstream)()
    server.version = 8
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def trial(candidate: Any) -> Callable[..., dict[str, Any]]:
    """Tunables with a rollout to the candidate."""

    def of(**settings: Any) -> dict[str, Any]:
        where = {"grpc": f"127.0.0.1:{candidate.grpc_port}", "rest": f"127.0.0.1:{candidate.rest_port}"}
        return {"rollout": {"candidate": {**where, "artifactDigest": CANDIDATE}, **settings}}

    return of
