"""The head of a gRPC call: what follows from it is found out once for all calls that begin alike."""

from __future__ import annotations

import functools
from enum import Enum, auto

from modelpress.sidecar import grpc_codes
from modelpress.sidecar.answer import HOP_BY_HOP
from modelpress.sidecar.head import Head
from modelpress.sidecar.headers import Headers, encode, literal
from modelpress.sidecar.observation import CONTEXT

PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Kind(Enum):
    """How a method is treated."""

    CACHED = auto()
    LIMITED = auto()
    FREE = auto()
    HEALTH = auto()
    DENIED = auto()
    UNKNOWN = auto()
    FOREIGN = auto()
    """No gRPC at all."""


METHODS = {
    PREDICT: Kind.CACHED,
    "/tensorflow.serving.PredictionService/Classify": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/Regress": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/MultiInference": Kind.LIMITED,
    "/tensorflow.serving.PredictionService/GetModelMetadata": Kind.FREE,
    "/tensorflow.serving.ModelService/GetModelStatus": Kind.FREE,
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest": Kind.DENIED,
    "/grpc.health.v1.Health/Check": Kind.HEALTH,
}
"""All that TF Serving offers. What is not here does not reach it: a newer server might offer more administration."""

DENIED = ("/tensorflow.ProfilerService/", "/grpc.reflection.")
_GRPC = b"application/grpc"
_NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-type", b"content-length", b"grpc-timeout", b"grpc-accept-encoding"}
_HTTP1 = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})


def kind_of(path: str) -> Kind:
    """The treatment of a method by its path."""
    found = METHODS.get(path)
    if found is not None:
        return found
    return Kind.DENIED if path.startswith(DENIED) else Kind.UNKNOWN


class GrpcHead(Head):
    """Made of the headers of a request as HTTP/2 gives them."""

    __slots__ = ("block", "fault", "kind", "timeout")

    def __init__(self, headers: Headers) -> None:
        pseudo = dict(pair for pair in headers if pair[0][:1] == b":")
        plain = tuple(pair for pair in headers if pair[0][:1] != b":")
        path, _, query = pseudo.get(b":path", b"").partition(b"?")
        super().__init__(pseudo.get(b":method", b"").decode("latin-1"), path.decode("latin-1"), query, plain)
        self.fault = _fault(headers, pseudo)
        """Why it is no request (RFC 9113, 8.3), None where it is one."""
        content_type = self.value(b"content-type") or b""
        is_grpc = self.method == "POST" and content_type.startswith(_GRPC) and not query
        self.kind = kind_of(self.path) if is_grpc else Kind.FOREIGN
        self.timeout: float | None = None
        """The client's, in seconds."""
        self.block = b""
        """The header block for the model server but for its timeout."""
        if is_grpc:
            self.block, self.timeout = _forwarded(path, content_type, plain)

    def forwarded(self, *more: tuple[bytes, bytes]) -> bytes:
        """The same with headers of our own."""
        return self.block + b"".join(literal(name, value) for name, value in more)


def of_path(path: str) -> GrpcHead:
    """The head of a call that no client makes."""
    return GrpcHead(((b":method", b"POST"), (b":path", path.encode()), (b":scheme", b"http"), *grpc_codes.HEADERS))


def _fault(headers: Headers, pseudo: dict[bytes, bytes]) -> str | None:
    named = [place for place, (name, _) in enumerate(headers) if name[:1] == b":"]
    if len(named) != len(pseudo) or named != list(range(len(named))) or not pseudo.keys() <= _PSEUDO:
        return "Pseudo-headers are repeated, unknown, or behind other headers"
    if not (pseudo.get(b":method") and pseudo.get(b":path") and pseudo.get(b":scheme")):
        return "A pseudo-header is missing"
    for name, value in headers:
        if not name or name != name.lower():
            return "A header is not in lower case"
        if name in _HTTP1 or (name == b"te" and value != b"trailers"):
            return "A header belongs to HTTP/1.1"
        if b"\n" in value or b"\r" in value or b"\0" in value:
            return "A header has a line break"
    return None


def _forwarded(path: bytes, content_type: bytes, headers: Headers) -> tuple[bytes, float | None]:
    custom, own, timeout = [], b"", None
    for name, value in headers:
        if name in CONTEXT:
            own += literal(name, value)  # another one in each request: not for the memo of blocks
        elif name == b"grpc-timeout":
            timeout = grpc_codes.parse_timeout(value) if timeout is None else timeout
        elif name not in _NOT_FORWARDED:
            custom.append((name, value))
    return _common(path, content_type, tuple(custom)) + own, timeout


@functools.lru_cache(maxsize=512)
def _common(path: bytes, content_type: bytes, custom: Headers) -> bytes:
    return encode(
        (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"localhost"),
            (b"content-type", content_type),
            (b"te", b"trailers"),
            *custom,
        )
    )
