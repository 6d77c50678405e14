"""The names of answers: two levels of a collision-resistant 256-bit hash over everything an answer depends on.

The hash is SHA-256 for what is short, because processors have instructions for it, and BLAKE3 for what is long.

Level 1 hashes the bytes of a request as they arrive, level 2 its canonical form, so that other encodings of the same
question find the same answer. Level 1 is only ever a memo of level 2, hence both name the same answer. Every component
is framed by a tag and a length, so that no two different lists of components have the same bytes.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from blake3 import blake3
from google.protobuf.message import DecodeError

from modelpress.sidecar import tensor
from modelpress.sidecar.outline import Outline
from modelpress.sidecar.reason import Bypass, Uncacheable
from modelpress.sidecar.wire_pb2 import PredictRequest

DEFAULT_SIGNATURE = "serving_default"
SHORT = 16_384
"""Bytes up to which SHA-256 is quicker."""
MOST_NAMES = 4096
"""Inputs, or outputs asked for: whoever sends more must not keep others waiting while they are sorted."""
_FRAME = struct.Struct("<BQ")
_NO_CONTEXT = bytes(8)


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
    pieces: list[bytes] = []
    length = 0
    for part, value in parts:
        size = len(value)
        pieces += (_FRAME.pack(part, size), value)
        length += size
    if length <= SHORT:
        return sha256(b"".join(pieces)).digest()
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return hasher.digest()


def framed(parts: Parts) -> bytes:
    """The bytes that `digest` hashes, for components that are short."""
    return b"".join([_FRAME.pack(part, len(value)) + value for part, value in parts])


def is_short(parts: Parts) -> bool:
    """Whether `digest` takes SHA-256 for these components."""
    return sum(len(value) for _, value in parts) <= SHORT


@functools.lru_cache(maxsize=16)
def common(identity: Identity, version: int, method: str) -> tuple[tuple[Part, bytes], ...]:
    """The components that every key begins with; `version` is the one that answers, labels and latest resolved."""
    return (
        (Part.ARTIFACT, identity.artifact.encode()),
        (Part.MODEL, identity.model.encode()),
        (Part.VERSION, str(version).encode()),
        (Part.METHOD, method.encode()),
    )


class Level1:
    """Hashes the raw bytes of requests to one method of one version; chunk by chunk, without joining them."""

    def __init__(self, identity: Identity, version: int, method: str) -> None:
        self._key = digest(common(identity, version, method))
        self._short = sha256(self._key)
        self._bare = sha256(self._key + _NO_CONTEXT)

    def digest(self, context: bytes, chunks: Sequence[bytes], hashed: bytes | None = None) -> bytes:
        """32 bytes that name the exact bytes of a request; how they were cut into chunks does not matter.

        `context` is what the answer depends on beside the body, `hashed` the BLAKE3 of the body where it is known.
        """
        if len(chunks) == 1 and len(chunks[0]) <= SHORT and not context:
            hasher = self._bare.copy()
            hasher.update(chunks[0])
            return hasher.digest()
        head = len(context).to_bytes(8, "little") + context
        if sum(map(len, chunks)) <= SHORT:
            hasher = self._short.copy()
            hasher.update(b"".join((head, *chunks)))
            return hasher.digest()
        return blake3(head + (hashed or _blake3_of(chunks)), key=self._key).digest()


def _blake3_of(chunks: Sequence[bytes]) -> bytes:
    hasher = blake3()
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


def long_predict(identity: Identity, version: int, chunks: Sequence[bytes], hashed: bytes | None = None) -> bytes:
    """The key of a long PredictRequest behind gRPC's prefix, which is that of its bytes: another encoding of it has
    another. It is read as far as it takes to be sure that the answer may be kept; raises Uncacheable where it may not.
    `hashed` is the BLAKE3 of the chunks where it is known.
    """
    request = parse_predict(Outline(chunks, 5).request())
    parts = _asked_of(identity, version, request)
    if not all(tensor.is_known(value) for value in request.inputs.values()):
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    return digest([*parts, (Part.BODY, hashed or _blake3_of(chunks))])


def predict_parts(
    identity: Identity, version: int, request: PredictRequest, *, largest: int
) -> list[tuple[Part, bytes]]:
    """All that the answer to a PredictRequest depends on, in one order whatever order the client chose."""
    parts = _asked_of(identity, version, request)
    for name in sorted(request.inputs):
        value = request.inputs[name]
        sizes, count = tensor.dimensions(value.tensor_shape, largest=largest)
        parts += (
            (Part.INPUT, name.encode()),
            (Part.DTYPE, value.dtype.to_bytes(4, "little", signed=True)),
            (Part.SHAPE, b"".join([size.to_bytes(8, "little") for size in sizes])),
            (Part.CONTENT, tensor.content(value, count, largest=largest)),
        )
    parts += [(Part.OUTPUT, name.encode()) for name in sorted(request.output_filter)]
    return parts


def _asked_of(identity: Identity, version: int, request: PredictRequest) -> list[tuple[Part, bytes]]:
    """What the key of any request begins with that our model answers and nobody else."""
    spec = request.model_spec
    if spec.name != identity.model:
        raise Uncacheable(Bypass.OTHER_MODEL)
    choice = spec.WhichOneof("version_choice")
    if choice == "version_label":
        raise Uncacheable(Bypass.VERSION_LABEL)
    if choice == "version" and spec.version.value != version:
        raise Uncacheable(Bypass.OTHER_VERSION)
    if len(request.inputs) > MOST_NAMES or len(request.output_filter) > MOST_NAMES:
        raise Uncacheable(Bypass.UNSUPPORTED_TENSOR)
    signature = (spec.signature_name or DEFAULT_SIGNATURE).encode()
    return [*common(identity, version, "grpc/Predict"), (Part.SIGNATURE, signature)]
