"""The names of answers: two levels of BLAKE3-256, which is collision-resistant, over everything an answer depends on.

Level 1 hashes the bytes of a request as they arrive, level 2 its canonical form, so that other encodings of the same
question find the same answer. Level 1 is only ever a memo of level 2, hence both name the same answer. Every component
is framed by a tag and a length, so that no two different lists of components have the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from blake3 import blake3
from google.protobuf.message import DecodeError

from modelpress.sidecar import tensor
from modelpress.sidecar.reason import Bypass, Uncacheable
from modelpress.sidecar.wire_pb2 import PredictRequest

DEFAULT_SIGNATURE = "serving_default"


class Identity(NamedTuple):
    """What this sidecar stands in front of; it never changes while it runs."""

    model: str
    artifact: str
    """Digest of the artifact, `sha256:<hex>`: new weights are another identity, whatever their version number."""


class Part(IntEnum):
    """The components of a key. Leaving out any of them makes a conformance vector fail."""

    ARTIFACT = 1
    MODEL = 2
    VERSION = 3
    METHOD = 4
    SIGNATURE = 5
    INPUT = 6
    DTYPE = 7
    SHAPE = 8
    CONTENT = 9
    OUTPUT = 10
    FORM = 11
    """REST only: row (`instances`) or columnar (`inputs`)."""
    BODY = 12
    ORIGIN = 13
    """REST only: the header Origin, on which CORS headers of an answer depend."""


Parts = Iterable[tuple[Part, bytes]]


def digest(parts: Parts) -> bytes:
    """32 bytes that name a list of components."""
    hasher = blake3()
    pending = bytearray()
    for part, value in parts:
        pending += part.to_bytes(1, "little") + len(value).to_bytes(8, "little")
        if len(value) < 4096:
            pending += value
        else:
            hasher.update(pending)
            hasher.update(value)
            pending = bytearray()
    hasher.update(pending)
    return hasher.digest()


def common(identity: Identity, version: int, method: str) -> list[tuple[Part, bytes]]:
    """The components that every key begins with; `version` is the one that answers, labels and latest resolved."""
    return [
        (Part.ARTIFACT, identity.artifact.encode()),
        (Part.MODEL, identity.model.encode()),
        (Part.VERSION, str(version).encode()),
        (Part.METHOD, method.encode()),
    ]


class Level1:
    """Hashes the raw bytes of requests to one method of one version; chunk by chunk, without joining them."""

    def __init__(self, identity: Identity, version: int, method: str) -> None:
        self._key = digest(common(identity, version, method))

    def digest(self, context: bytes, chunks: Iterable[bytes]) -> bytes:
        """32 bytes that name the exact bytes of a request; how they were cut into chunks does not matter.

        `context` is what the answer depends on beside the body.
        """
        hasher = blake3(len(context).to_bytes(8, "little") + context, key=self._key)
        for chunk in chunks:
            hasher.update(chunk)
        return hasher.digest()


def predict(identity: Identity, version: int, message: bytes, *, largest: int) -> bytes:
    """The canonical key of a serialized PredictRequest; raises Uncacheable in doubt and for tensors over `largest`."""
    return digest(predict_parts(identity, version, parse_predict(message), largest=largest))


def parse_predict(message: bytes) -> PredictRequest:
    """A PredictRequest of which every field is known to us."""
    try:
        request = PredictRequest.FromString(message)
    except DecodeError as error:
        raise Uncacheable(Bypass.MALFORMED) from error
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        raise Uncacheable(Bypass.UNKNOWN_FIELDS)
    return request


def predict_parts(
    identity: Identity, version: int, request: PredictRequest, *, largest: int
) -> Iterator[tuple[Part, bytes]]:
    """All that the answer to a PredictRequest depends on, in one order whatever order the client chose."""
    spec = request.model_spec
    if spec.name != identity.model:
        raise Uncacheable(Bypass.OTHER_MODEL)
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise Uncacheable(Bypass.VERSION_LABEL)
    if choice == "version" and spec.version.value != version:
        raise Uncacheable(Bypass.OTHER_VERSION)
    yield from common(identity, version, "grpc/Predict")
    yield Part.SIGNATURE, (spec.signature_name or DEFAULT_SIGNATURE).encode()
    inputs = request.inputs
    for name in sorted(inputs):
        value = inputs[name]
        sizes, count = tensor.dimensions(value.tensor_shape, largest=largest)
        yield Part.INPUT, name.encode()
        yield Part.DTYPE, value.dtype.to_bytes(4, "little", signed=True)
        yield Part.SHAPE, b"".join(size.to_bytes(8, "little") for size in sizes)
        yield Part.CONTENT, tensor.content(value, count, largest=largest)
    for name in sorted(request.output_filter):
        yield Part.OUTPUT, name.encode()
