"""One server with a model of every kind, over real sockets, shared by the whole folder."""

from __future__ import annotations

import dataclasses
import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import grpc
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from modelpress.server import assembly, flags, ports

PREDICT = "tensorflow/serving/predict"


def f32(*shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec(shape, tf.float32)


class Dense(tf.Module):
    """y = x W, W counts up from one, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.reshape(tf.range(1.0, 13.0), (4, 3)) * factor)

    @tf.function(input_signature=[f32(None, 4)])
    def predict(self, x):
        return {"y": x @ self.weights}

    @tf.function(input_signature=[f32(None, 4)], jit_compile=True)
    def compiled(self, x):
        return {"y": x @ self.weights}


class Many(tf.Module):
    """Several inputs, several outputs, several signatures, every type that JSON can carry and one that it cannot."""

    @tf.function(input_signature=[f32(None, 2), tf.TensorSpec([None], tf.int32)])
    def pair(self, a, b):
        return {"sum": tf.reduce_sum(a, 1), "twice": b * 2}

    @tf.function(input_signature=[f32(None)])
    def scalar(self, x):
        return {"total": tf.reduce_sum(x), "x": x + 0.0}

    @tf.function(input_signature=[f32(None)])
    def uneven(self, x):
        return {"x": x + 0.0, "xx": tf.concat([x, x], 0)}

    @tf.function(input_signature=[f32(None, 2)])
    def divide(self, x):
        return {"quotient": x[:, 0] / x[:, 1]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float16)])
    def half(self, x):
        return {"y": x * 2}

    @tf.function(input_signature=[f32(None)])
    def to_half(self, x):
        return {"y": tf.cast(x, tf.float16)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], dtype)
            for dtype in (tf.float64, tf.int8, tf.uint8, tf.int16, tf.int64, tf.uint32, tf.uint64, tf.bool)
        ]
    )
    def types(self, f64, i8, u8, i16, i64, u32, u64, flag):
        identity = tf.identity
        return {
            "f64": identity(f64), "i8": identity(i8), "u8": identity(u8), "i16": identity(i16),
            "i64": identity(i64), "u32": identity(u32), "u64": identity(u64), "flag": identity(flag),
        }  # fmt: skip


class Text(tf.Module):
    """Words to numbers through a lookup table, and back as text and bytes."""

    def __init__(self) -> None:
        super().__init__()
        entries = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], tf.constant([7, 8], tf.int64))
        self.table = tf.lookup.StaticHashTable(entries, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def predict(self, word):
        return {"number": self.table.lookup(word), "word": tf.identity(word), "word_bytes": tf.identity(word)}


class Pair(tf.Module):
    """Two inputs and two outputs for TFLite."""

    @tf.function(input_signature=[f32(None, 2), f32(None, 2)])
    def predict(self, a, b):
        return {"sum": a + b, "product": a * b}


class Single(tf.Module):
    """One input, whose size may change from request to request."""

    @tf.function(input_signature=[f32(None, 2)])
    def predict(self, x):
        return {"y": x + 1.0}


def save_examples(path: Path) -> None:
    """Classify and regress signatures, which only the v1 builder writes, and broken ones."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        serialized = tf.compat.v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(
            serialized,
            {"x": tf.io.FixedLenFeature([1], tf.float32), "bias": tf.io.FixedLenFeature([1], tf.float32, [0.0])},
        )
        value = parsed["x"] * 2 + parsed["bias"]
        scores = tf.concat([value, 1 - value], 1)
        classes = tf.tile(tf.constant([["low", "high"]]), [tf.shape(value)[0], 1])
        info = tf.compat.v1.saved_model.utils.build_tensor_info
        signature = tf.compat.v1.saved_model.signature_def_utils.build_signature_def
        inputs = {"inputs": info(serialized)}
        classify, regress = "tensorflow/serving/classify", "tensorflow/serving/regress"
        builder = tf.compat.v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature(inputs, {"outputs": info(value)}, regress),
                "classify": signature(inputs, {"classes": info(classes), "scores": info(scores)}, classify),
                "scores": signature(inputs, {"scores": info(scores)}, classify),
                "flat": signature(inputs, {"scores": info(value[:, 0])}, classify),
                "numbers": signature(inputs, {"classes": info(scores)}, classify),
                "wide": signature(inputs, {"outputs": info(scores)}, regress),
                "none": signature(inputs, {"other": info(scores)}, classify),
                "named": signature({"other": info(serialized)}, {"outputs": info(value)}, regress),
                "first": signature(inputs, {"outputs": info(value[:1])}, regress),
                "predict": signature(inputs, {"y": info(value)}, PREDICT),
            },
        )
        builder.save()


def converted(model: tf.Module) -> bytes:
    function = model.predict.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()


def with_signature(content: bytes, name: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> bytes:
    """Add the metadata entry that TensorFlow Serving reads."""
    definition = meta_graph_pb2.SignatureDef(method_name=PREDICT)
    for infos, names in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for alias, tensor in names.items():
            infos[alias].name = tensor
            infos[alias].dtype = tf.float32.as_datatype_enum
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key(name)
        raw = definition.SerializeToString()
        builder._WriteBlob(raw, append_zero=True, type_=flexbuffers.Type.STRING)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(bytes(builder.Finish()), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    flat = flatbuffers.Builder(len(content) + 1024)
    flat.Finish(model.Pack(flat), b"TFL3")
    return bytes(flat.Output())


def tensor_names(content: bytes) -> tuple[list[str], list[str]]:
    interpreter = Interpreter(model_content=content)
    inputs = sorted(tensor["name"] for tensor in interpreter.get_input_details())
    # Outputs are found by what they compute.
    interpreter.allocate_tensors()
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.full((1, 2), 3, np.float32))
    interpreter.invoke()
    by_value = {interpreter.get_tensor(t["index"])[0, 0]: t["name"] for t in interpreter.get_output_details()}
    return inputs, [by_value[6.0], by_value[9.0]]


def write_tflite(root: Path) -> None:
    content = converted(Pair())
    inputs, (total, product) = tensor_names(content)
    single = converted(Single())
    reader = Interpreter(model_content=single)
    ends = {"x": reader.get_input_details()[0]["name"]}, {"y": reader.get_output_details()[0]["name"]}
    for name, data in (
        ("lite", with_signature(content, "serving_default", dict(zip("ab", inputs, strict=True)),
                                {"sum": total, "product": product})),
        ("lite_plain", content),
        ("lite_single", with_signature(single, "serving_default", *ends)),
    ):  # fmt: skip
        path = root / name / "1"
        path.mkdir(parents=True)
        (path / "model.tflite").write_bytes(data)


def write_warmup(version: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def predict_log(**inputs: Any) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    for alias, value in inputs.items():
        log.predict_log.request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return log


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version, factor in ((1, 1.0), (2, 10.0)):
        dense = Dense(factor)
        signatures = {"serving_default": dense.predict, "compiled": dense.compiled}
        tf.saved_model.save(dense, str(root / "dense" / str(version)), signatures=signatures)
    many = Many()
    names = ("scalar", "uneven", "divide", "half", "to_half", "types")
    functions = {name: getattr(many, name) for name in names}
    tf.saved_model.save(many, str(root / "many" / "1"), signatures={"serving_default": many.pair, **functions})
    tf.saved_model.save(Text(), str(root / "text" / "1"))
    save_examples(root / "examples" / "1")
    write_tflite(root)
    return root


CONFIG = """
model_config_list {{
  config {{
    name: "dense" base_path: "{root}/dense" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }} version_labels {{ key: "stable" value: 1 }}
  }}
  config {{ name: "many" base_path: "{root}/many" model_platform: "tensorflow" }}
  config {{ name: "text" base_path: "{root}/text" model_platform: "tensorflow" }}
  config {{ name: "examples" base_path: "{root}/examples" model_platform: "tensorflow" }}
  config {{ name: "lite" base_path: "{root}/lite" model_platform: "tensorflow" }}
  config {{ name: "lite_single" base_path: "{root}/lite_single" model_platform: "tensorflow" }}
  config {{ name: "lite_plain" base_path: "{root}/lite_plain" model_platform: "tensorflow" }}
}}
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """Clients of the shared server."""

    grpc_address: str
    grpc_socket: str
    rest_address: str
    prediction: prediction_service_pb2_grpc.PredictionServiceStub
    models: model_service_pb2_grpc.ModelServiceStub

    def http(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self.rest_address, timeout=60)
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, raw, dict(headers or {}))
        response = connection.getresponse()
        found = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return found

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, _, text = self.http(method, path, body)
        return status, json.loads(text)

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.json("POST", f"/v1/models/{path}", body)

    def predict(self, model: str, signature: str = "", **inputs: Any) -> predict_pb2.PredictResponse:
        return self.prediction.Predict(predict_request(model, signature, **inputs), timeout=60)


def predict_request(model: str, signature: str = "", **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for alias, value in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(value))
    return request


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "models.config").write_text(CONFIG.format(root=models))
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")
    listening = ports.unused(), ports.unused()
    values = flags.parse(
        [
            f"--port={listening[0]}",
            f"--rest_api_port={listening[1]}",
            f"--grpc_socket_path={folder}/grpc.sock",
            f"--model_config_file={folder}/models.config",
            f"--monitoring_config_file={folder}/monitoring.config",
            "--allow_version_labels_for_unavailable_models=true",
            "--prefer_tflite_model=true",
            "--num_tflite_pools=2",
            "--max_num_load_retries=0",
            "--enable_grpc_healthcheck_service=true",
            # Disabling it holds for the process, and other tests run in this one.
            "--xla_cpu_compilation_enabled=true",
        ]
    )
    assembled = assembly.assemble(values)
    rpc_server, rest_server = assembly.listen(assembled, values, host="127.0.0.1")
    address = f"127.0.0.1:{listening[0]}"
    with grpc.insecure_channel(address) as channel:
        yield Server(
            grpc_address=address,
            grpc_socket=f"unix:{folder}/grpc.sock",
            rest_address=f"127.0.0.1:{listening[1]}",
            prediction=prediction_service_pb2_grpc.PredictionServiceStub(channel),
            models=model_service_pb2_grpc.ModelServiceStub(channel),
        )
    assembled.versions.stop()
    rest_server.stop()
    rpc_server.stop(5).wait(10)
