"""Common requests from a data set to answers in the cache: the Job's part, fetch, a sidecar and a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from modelpress.api import identity
from modelpress.api import request as requests
from modelpress.api.artifact import ArtifactManifest, Servable, SourceFound
from modelpress.api.errors import Invalid
from modelpress.api.resource import CompressedModel
from modelpress.compress import prefetch
from modelpress.server import launch
from modelpress.sidecar import address
from modelpress.sidecar.key import Identity
from modelpress.sidecar.process import Settings, Sidecar
from modelpress.storage import durable, fetch, layout, listing
from modelpress.telemetry.progress import Silent

KEY = "ab" * 32
ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def total(self, x):
        return {"total": tf.reduce_sum(x, 1)}


class Place:
    """A store with one artifact, a folder for models, and data."""

    def __init__(self, root: Path) -> None:
        self.root = root
        source = root / "store" / "default" / "artifacts" / KEY / "source" / "3"
        model = Model()
        tf.saved_model.save(model, str(source), signatures={"serving_default": model.total})
        files = tuple(listing.files(source))
        digest = identity.content_digest(files)
        servable = Servable(
            path="source/3",
            form="SavedModel",
            digest=digest,
            size_bytes=1,
            files=files,
            signatures=("serving_default",),
        )
        found = SourceFound(
            uri="m", digest=digest, format="SavedModel", signatures=("serving_default",), servable=servable
        )
        self.digest = digest
        self.manifest = ArtifactManifest(key=KEY, created=3, source=found, candidates=())
        durable.write(source.parents[1] / layout.MANIFEST, self.manifest.json_line().encode())

    def request(self, **columns: np.ndarray) -> requests.Request:
        path = self.root / "common.npz"
        np.savez(path, **columns)
        resource = CompressedModel.model_validate(
            {
                "metadata": {"name": "m", "namespace": "default"},
                "spec": {"source": {"uri": "m"}, "cache": {"prefetch": {"uri": str(path), "samples": 5}}},
            }
        )
        return requests.of_resource(resource, store=str(self.root / "store"))

    def written(self, request: requests.Request) -> None:
        prefetch.write(request, self.manifest, prefetch.rows(request), progress=Silent())

    def fetched(self, request: requests.Request) -> Path:
        order = fetch.Order(
            store=str(self.root / "store"),
            namespace="default",
            artifact=KEY,
            servable="source",
            digest=self.digest,
            model="m",
            into=self.root / "models",
            prefetch=requests.prefetch_key(request),
        )
        fetch.fetch(order)
        return self.root / "models"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("prefetch"))


@pytest.fixture(scope="module")
def request_of_rows(place: Place) -> requests.Request:
    request = place.request(x=ROWS)
    place.written(request)
    return request


@pytest.fixture(scope="module")
def server(place: Place, request_of_rows: requests.Request) -> Iterator[launch.ServerProcess]:
    models = place.fetched(request_of_rows)
    with launch.start_server("m", models / "m", threads=1, tflite=False, log_path=models / "log") as process:
        process.wait_available()
        yield process


@pytest.fixture
async def sidecar(place: Place, server: launch.ServerProcess) -> AsyncIterator[Sidecar]:
    sidecar = Sidecar(
        Settings(
            identity=Identity("m", place.digest),
            upstream_grpc=address.parse(server.grpc_address, field="grpc"),
            upstream_rest=address.parse(server.rest_address, field="rest"),
            host="127.0.0.1",
            grpc_port=0,
            rest_port=0,
            admin_port=0,
            prefetch_file=place.root / "models" / fetch.PREFETCH_FILE,
        )
    )
    await sidecar.start()
    yield sidecar
    await sidecar.stop()


async def test_clients_find_the_answers_to_common_rows(sidecar: Sidecar) -> None:
    async with asyncio.timeout(30):
        while sidecar.upkeep.prefetch.progress.phase != "Done":  # noqa: ASYNC110 - a counter, which tells nobody
            await asyncio.sleep(0.02)
    progress = sidecar.upkeep.prefetch.progress
    assert (progress.total, progress.answered) == (5, 5)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(ROWS[2:3]))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{sidecar.grpc.port}") as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        answer = predict_pb2.PredictResponse.FromString(await call(request.SerializeToString(), timeout=10))
    assert tf.make_ndarray(answer.outputs["total"]).tolist() == [9.0]
    counts = sidecar.state()["requests"]["grpc"]
    assert (counts["hits"], counts["misses"]) == (1, 0)


def test_what_is_written_is_written_once(place: Place, request_of_rows: requests.Request) -> None:
    path = layout.opened(str(place.root / "store"), "default").file(
        KEY, layout.prefetch(requests.prefetch_key(request_of_rows) or "")
    )
    before = path.stat().st_ino
    place.written(request_of_rows)
    assert path.stat().st_ino == before


def test_a_pod_starts_without_common_requests_that_are_not_there(place: Place, tmp_path: Path) -> None:
    request = place.request(x=ROWS).model_copy(update={"requested_at": "later"})
    models = place.fetched(request)
    assert (models / "m" / "3" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("columns", "reason", "field"),
    [({"y": ROWS}, "MissingInput", "columns.inputs"), ({"x": ROWS[:, :1]}, "ShapeMismatch", "columns.inputs.x")],
)
def test_rows_that_the_model_does_not_take_are_refused_by_their_field(
    tmp_path_factory: pytest.TempPathFactory, place: Place, columns: dict[str, np.ndarray], reason: str, field: str
) -> None:
    request = place.request(**columns).model_copy(update={"requested_at": reason})
    with pytest.raises(Invalid) as refused:
        place.written(request)
    assert (refused.value.reason, refused.value.field) == (reason, f"spec.cache.prefetch.{field}")
    assert "spec.data" not in str(refused.value)
