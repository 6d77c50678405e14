"""A shadow reads the answers of a real server, by either protocol, in every form that it gives them."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from modelpress.api.tunables import CandidateTunables, RolloutTunables, ShadowTunables, Tunables
from modelpress.server import launch
from modelpress.sidecar.process import Sidecar


def trial(server: launch.ServerProcess, **settings: object) -> Tunables:
    """The server itself as the candidate: whatever differs would be our reading."""
    where = CandidateTunables(grpc=server.grpc_address, rest=server.rest_address, artifact_digest="sha256:" + "c" * 64)
    return Tunables(rollout=RolloutTunables(candidate=where, **settings))


def requests() -> list[predict_pb2.PredictRequest]:
    """Two outputs, rows and none, NaN, strings."""
    made = []
    for a, b in (([[1, 2], [3, 4]], [5, 6]), ([[np.nan, np.inf]], [1]), (np.zeros((0, 2)), np.zeros(0))):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        request.inputs["a"].CopyFrom(tf.make_tensor_proto(np.asarray(a, np.float32)))
        request.inputs["b"].CopyFrom(tf.make_tensor_proto(np.asarray(b, np.int32)))
        made.append(request)
    words = predict_pb2.PredictRequest()
    words.model_spec.name, words.model_spec.signature_name = "m", "words"
    words.inputs["word"].CopyFrom(tf.make_tensor_proto([b"cat", b"", b"\0\xff"], tf.string))
    return [*made, words]


BODIES = (
    {"instances": [{"a": [1.0, 2.0], "b": 3}, {"a": [3.0, 4.0], "b": 4}]},
    {"inputs": {"a": [[1.0, 2.0]], "b": [3]}},
    {"signature_name": "words", "instances": ["cat", {"b64": "AP8="}]},
)


async def judged(sidecar: Sidecar, count: int) -> dict:
    async with asyncio.timeout(10):
        while True:
            shadow = sidecar.state()["rollout"]["shadow"]
            if sum(shadow[name] for name in ("equal", "diverged", "failed", "unreadable")) == count:
                return shadow
            await asyncio.sleep(0.01)


async def test_a_model_beside_itself_is_equal_in_every_output(server, sidecar):
    sidecar.pipeline.configure(trial(server, shadow=ShadowTunables(sample_rate=1, concurrency=16)))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for request in requests():
            await stub.Predict(request, timeout=30)
    async with aiohttp.ClientSession() as session:
        for body in BODIES:
            url = f"http://127.0.0.1:{sidecar.rest.port}/v1/models/m:predict"
            async with session.post(url, data=json.dumps(body)) as response:
                assert response.status == 200
    shadow = await judged(sidecar, len(requests()) + len(BODIES))
    assert shadow["equal"] == len(requests()) + len(BODIES)
    assert {name: output["compared"] for name, output in shadow["outputs"].items()} == {
        "sum": 5,
        "twice": 5,
        "length": 2,
        "word": 2,
    }


async def test_clients_cannot_tell_who_answered(server, sidecar):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answers = []
        for weight in (0, 100):
            sidecar.pipeline.configure(trial(server, weight=weight))
            answers.append([(await stub.Predict(request, timeout=30)).outputs["twice"] for request in requests()[:1]])
        assert answers[0] == answers[1]
    assert sidecar.state()["rollout"]["candidate"]["codes"] == {"OK": 1}
