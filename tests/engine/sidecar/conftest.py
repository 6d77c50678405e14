"""A real model in a real server process, and a sidecar before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from modelpress.server import launch
from modelpress.sidecar import address
from modelpress.sidecar.key import Identity
from modelpress.sidecar.process import Settings, Sidecar


class Model(tf.Module):
    """Two outputs from two inputs, words and their lengths, and work for a CPU."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32), tf.TensorSpec([None], tf.int32)])
    def pair(self, a, b):
        return {"sum": tf.reduce_sum(a, 1) + tf.cast(b, tf.float32), "twice": b * 2}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def words(self, word):
        return {"length": tf.strings.length(word), "word": tf.identity(word)}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.float32)])
    def toil(self, seed):
        matrix = tf.fill([320, 320], 0.001) * seed
        for _ in range(24):
            matrix = tf.linalg.matmul(matrix, matrix) * 0.5
        return {"sum": tf.reduce_sum(matrix)[None]}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[launch.ServerProcess]:
    """Version 3 of model `m`."""
    root = tmp_path_factory.mktemp("sidecar-engine")
    model = Model()
    signatures = {"serving_default": model.pair, "words": model.words, "toil": model.toil}
    tf.saved_model.save(model, str(root / "m" / "3"), signatures=signatures)
    with launch.start_server("m", root / "m", threads=1, tflite=False, log_path=root / "log") as process:
        process.wait_available()
        yield process


@pytest.fixture
async def sidecar(server: launch.ServerProcess, tmp_path: Path) -> AsyncIterator[Sidecar]:
    """A sidecar that has nothing in its cache yet."""
    settings = Settings(
        identity=Identity("m", "sha256:" + "0" * 64),
        upstream_grpc=address.parse(server.grpc_address, field="grpc"),
        upstream_rest=address.parse(server.rest_address, field="rest"),
        config_directory=tmp_path,
        host="127.0.0.1",
        grpc_port=0,
        rest_port=0,
        admin_port=0,
    )
    (tmp_path / "sidecar.json").write_text("{}")
    sidecar = Sidecar(settings)
    await sidecar.start()
    assert (await sidecar.availability.refresh()).ready
    yield sidecar
    await sidecar.stop()
