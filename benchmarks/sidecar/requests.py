"""The requests that are sent: Predict with one float32 tensor, as gRPC and as JSON."""

from __future__ import annotations

import json
import struct

from modelpress.sidecar.wire_pb2 import ModelSpec, PredictRequest

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SMALL = (784,)
LARGE = (224, 224, 3)


def framed(message: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + struct.pack(">I", len(message)) + message


def predict(shape: tuple[int, ...], value: float = 1.5) -> bytes:
    """A serialized PredictRequest for model m with `value` everywhere: 3.2 kB or 602 kB."""
    message = PredictRequest(model_spec=ModelSpec(name="m"))
    tensor = message.inputs["x"]
    tensor.dtype = 1
    count = 1
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
        count *= size
    tensor.tensor_content = struct.pack("<f", value) * count
    return message.SerializeToString()


def response() -> bytes:
    """A serialized PredictResponse of version 1 with ten floats: 61 bytes and a few."""
    message = PredictRequest()
    tensor = message.inputs["scores"]
    tensor.dtype = 1
    tensor.tensor_shape.dim.add(size=10)
    tensor.tensor_content = struct.pack("<10f", *(0.1,) * 10)
    outputs = message.SerializeToString().replace(b"\x12", b"\x0a", 1)  # inputs = 2 there, outputs = 1 here
    spec = ModelSpec(name="m", signature_name="serving_default")
    spec.version.value = 1
    head = spec.SerializeToString()
    return outputs + b"\x12" + bytes((len(head),)) + head


def rest() -> bytes:
    """The 784 values as JSON: about as long as the gRPC request."""
    return json.dumps({"instances": [[0.5] * SMALL[0]]}, separators=(",", ":")).encode()


REST_RESPONSE = b'{"predictions":[[0.1,0.2,0.3,0.1,0.2,0.3,0.1,0.2,0.3,0.1]]}'
STATUS = (
    b'{"model_version_status":[{"version":"1","state":"AVAILABLE","status":{"error_code":"OK","error_message":""}}]}'
)
