"""Through the sidecar everything is as it is without, only repeated questions do not reach the server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from modelpress.sidecar.process import Sidecar


def a_request(
    a=((1.0, 2.0),), b=(3,), *, model="m", signature="", version=None, outputs=(), label=""
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    request.inputs["a"].CopyFrom(tf.make_tensor_proto(np.asarray(a, np.float32)))
    request.inputs["b"].CopyFrom(tf.make_tensor_proto(np.asarray(b, np.int32)))
    return request


def words(*values: bytes) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", "words"
    request.inputs["word"].CopyFrom(tf.make_tensor_proto(list(values), tf.string))
    return request


PREDICTIONS = {
    "plain": a_request(),
    "two rows": a_request(((1, 2), (3, 4)), (5, 6)),
    "no rows": a_request(np.zeros((0, 2)), np.zeros(0)),
    "NaN": a_request(((np.nan, 2),)),
    "one output": a_request(outputs=("twice",)),
    "version that serves": a_request(version=3),
    "strings": words(b"cat", b"", b"\0\xff"),
    "unknown version": a_request(version=4),
    "unknown label": a_request(label="stable"),
    "unknown model": a_request(model="other"),
    "unknown signature": a_request(signature="other"),
    "unknown output": a_request(outputs=("other",)),
    "wrong dtype": a_request(),
    "missing input": a_request(),
}
PREDICTIONS["wrong dtype"].inputs["a"].CopyFrom(tf.make_tensor_proto([[1, 2]]))
del PREDICTIONS["missing input"].inputs["b"]

BODIES = {
    "row": {"instances": [{"a": [1.0, 2.0], "b": 3}]},
    "columnar": {"inputs": {"a": [[1.0, 2.0]], "b": [3]}},
    "strings": {"signature_name": "words", "instances": ["cat", {"b64": "AP8="}]},
    "unknown signature": {"signature_name": "other", "instances": [1]},
    "neither": {},
    "both": {"instances": [1], "inputs": [1]},
    "float for an integer": {"inputs": {"a": [[1.0, 2.0]], "b": [3.5]}},
}


async def outcome(call: Any) -> tuple[Any, ...]:
    try:
        return "OK", await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


@pytest.mark.parametrize("name", PREDICTIONS)
async def test_predictions_and_their_errors_are_the_servers_the_second_time_too(name, server, sidecar):
    async with channel(server.grpc_address) as direct, channel(f"127.0.0.1:{sidecar.grpc.port}") as through:
        expected = await outcome(stub(direct).Predict(PREDICTIONS[name], timeout=30))
        for _ in range(2):
            assert await outcome(stub(through).Predict(PREDICTIONS[name], timeout=30)) == expected
    counts = sidecar.state()["requests"]["grpc"]
    assert counts["hits"] == (1 if expected[0] == "OK" else 0)


async def test_metadata_and_status_are_the_servers(server, sidecar):
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "m"
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "m"
    async with channel(server.grpc_address) as direct, channel(f"127.0.0.1:{sidecar.grpc.port}") as through:
        assert await stub(through).GetModelMetadata(metadata) == await stub(direct).GetModelMetadata(metadata)
        assert await models(through).GetModelStatus(status) == await models(direct).GetModelStatus(status)


async def test_the_configuration_cannot_be_reloaded_through_the_sidecar(sidecar):
    async with channel(f"127.0.0.1:{sidecar.grpc.port}") as through:
        request = model_management_pb2.ReloadConfigRequest()
        code, _ = await outcome(models(through).HandleReloadConfigRequest(request))
    assert code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("name", BODIES)
async def test_rest_answers_and_errors_are_the_servers_the_second_time_too(name, server, sidecar):
    body = json.dumps(BODIES[name])
    async with aiohttp.ClientSession() as session:
        expected = await posted(session, server.rest_address, body)
        for _ in range(2):
            assert await posted(session, f"127.0.0.1:{sidecar.rest.port}", body) == expected
    assert sidecar.state()["requests"]["rest"]["hits"] == (1 if expected[0] == 200 else 0)


@pytest.mark.parametrize("path", ["/v1/models/m", "/v1/models/m/metadata", "/v1/models/other", "/v1/models", "/v2"])
async def test_other_rest_paths_are_the_servers(path, server, sidecar):
    async with aiohttp.ClientSession() as session:
        answers = []
        for address in (server.rest_address, f"127.0.0.1:{sidecar.rest.port}"):
            async with session.get(f"http://{address}{path}") as response:
                answers.append((response.status, response.headers.get("Content-Type"), await response.read()))
    assert answers[0] == answers[1]


async def test_many_clients_get_their_own_answers(sidecar: Sidecar):
    async with channel(f"127.0.0.1:{sidecar.grpc.port}") as through:

        async def ask(number: int) -> bool:
            response = await stub(through).Predict(a_request(b=(number,)), timeout=30)
            return tf.make_ndarray(response.outputs["twice"]).tolist() == [2 * number]

        assert all(await asyncio.gather(*(ask(number % 20) for number in range(60))))
    counts = sidecar.state()["requests"]["grpc"]
    assert counts["misses"] == 20
    assert counts["hits"] + counts["coalesced"] == 40


def channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address)


def stub(connection: grpc.aio.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(connection)


def models(connection: grpc.aio.Channel) -> Any:
    return model_service_pb2_grpc.ModelServiceStub(connection)


async def posted(session: aiohttp.ClientSession, address: str, body: str) -> tuple[int, str | None, bytes]:
    async with session.post(f"http://{address}/v1/models/m:predict", data=body) as response:
        return response.status, response.headers.get("Content-Type"), await response.read()
