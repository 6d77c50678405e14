"""gRPC status codes, timeouts and messages as they are written in HTTP/2 headers."""

from __future__ import annotations

import functools
import math
from urllib.parse import quote, quote_from_bytes

from modelpress.api.grpc_code import GrpcCode
from modelpress.sidecar.answer import HOP_BY_HOP, Answer
from modelpress.sidecar.frames import Code
from modelpress.sidecar.headers import Headers
from modelpress.sidecar.reason import Refusal, Refused
from modelpress.sidecar.stream import UpstreamResponse

HEADERS: Headers = ((b"content-type", b"application/grpc"),)
OK_TRAILERS: Headers = ((b"grpc-status", b"0"),)
"""The objects that stand for an answer and for success without metadata, so that `is` tells them."""
_made = tuple.__new__
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_OF_RESET: dict[int, GrpcCode] = {
    Code.REFUSED_STREAM: GrpcCode.UNAVAILABLE,
    Code.CANCEL: GrpcCode.CANCELLED,
    Code.ENHANCE_YOUR_CALM: GrpcCode.RESOURCE_EXHAUSTED,
    Code.INADEQUATE_SECURITY: GrpcCode.PERMISSION_DENIED,
}
_OF_HTTP = {
    b"400": GrpcCode.INTERNAL,
    b"401": GrpcCode.UNAUTHENTICATED,
    b"403": GrpcCode.PERMISSION_DENIED,
    b"404": GrpcCode.UNIMPLEMENTED,
    b"429": GrpcCode.UNAVAILABLE,
    b"502": GrpcCode.UNAVAILABLE,
    b"503": GrpcCode.UNAVAILABLE,
    b"504": GrpcCode.UNAVAILABLE,
}
_OF_REFUSAL = {
    Refusal.DEADLINE: GrpcCode.DEADLINE_EXCEEDED,
    Refusal.CLIENT_GONE: GrpcCode.CANCELLED,
    Refusal.DENIED: GrpcCode.PERMISSION_DENIED,
    Refusal.MALFORMED: GrpcCode.INTERNAL,
}


def parse_timeout(value: bytes) -> float | None:
    """Seconds of a `grpc-timeout` header; None where it is malformed, which gRPC servers take for no timeout."""
    digits, unit = value[:-1], value[-1:]
    if unit not in _UNITS or not digits.isdigit() or len(digits) > 8:
        return None
    return int(digits) * _UNITS[unit]


def format_timeout(seconds: float) -> bytes:
    """A `grpc-timeout` header of at most eight digits, never less than asked for."""
    microseconds = max(math.ceil(seconds * 1e6), 1)
    for unit, size in ((b"u", 1), (b"m", 1000), (b"S", 10**6)):
        amount = -(-microseconds // size)
        if amount < 10**8:
            return str(amount).encode() + unit
    return b"99999999S"


def status(answer: Answer) -> str:
    """The name of the code of an answer, for metrics."""
    return name(next((value for name, value in answer.trailers if name == b"grpc-status"), b"2"))


def name(code: bytes) -> str:
    """The name of a `grpc-status`, for metrics; what is no code is UNKNOWN."""
    number = int(code) if code.isdigit() and len(code) < 3 else 2
    return GrpcCode(number).name if number <= 16 else GrpcCode.UNKNOWN.name


def failure(code: GrpcCode, message: str, *more: tuple[bytes, bytes]) -> Answer:
    """An error of our own."""
    trailers = [(b"grpc-status", str(int(code)).encode())]
    if message:
        told = quote(message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~").encode()
        trailers.append(_inside_field((b"grpc-message", told)))
    return Answer(200, HEADERS, b"", (*trailers, *more))


def refusal(refused: Refused) -> Answer:
    """How a refused request is told; `grpc-retry-pushback-ms` keeps retrying clients away as long as it makes sense."""
    code = _OF_REFUSAL.get(refused.reason, GrpcCode.RESOURCE_EXHAUSTED)
    if code is not GrpcCode.RESOURCE_EXHAUSTED:
        return failure(code, refused.message)
    pushback = -1 if refused.retry_after is None else math.ceil(refused.retry_after * 1000)
    return failure(code, refused.message, (b"grpc-retry-pushback-ms", str(pushback).encode()))


def of_reset(code: int | None) -> GrpcCode:
    """The gRPC code for a stream that upstream broke off with an HTTP/2 error code, None for a lost connection."""
    if code is None:
        return GrpcCode.UNAVAILABLE
    return _OF_RESET.get(code, GrpcCode.INTERNAL)


def answer(response: UpstreamResponse) -> Answer:
    """The answer of the model server as it is passed on: its metadata, body, code and message unchanged."""
    passed = _passed_on(response.headers, response.trailers)
    if isinstance(passed, Answer):
        return passed
    return _made(Answer, (200, passed[0], response[1], passed[1]))


@functools.lru_cache(maxsize=64)
def _passed_on(headers: Headers, trailers: Headers) -> tuple[Headers, Headers] | Answer:
    """Headers and trailers for the client, or the failure that stands for what is no gRPC answer."""
    first = headers or trailers
    status = next((value for name, value in first if name == b":status"), b"200")
    if not any(name == b"grpc-status" for name, _ in trailers):
        code = GrpcCode.UNKNOWN if status == b"200" else _OF_HTTP.get(status, GrpcCode.UNKNOWN)
        return failure(
            code, f"The model server answered without a gRPC status (HTTP {status.decode(errors='replace')})"
        )
    told = tuple(_inside_field(pair) for pair in headers if _passed(pair[0])) or HEADERS
    ended = tuple(_inside_field(pair) for pair in trailers if _passed(pair[0]) and pair[0] != b"content-type")
    ended = tuple(sorted(ended, key=lambda pair: pair[0] != b"grpc-status"))
    return HEADERS if told == HEADERS else told, OK_TRAILERS if ended == OK_TRAILERS else ended


def _inside_field(pair: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """No white space at the ends of a field's value (RFC 9113, 8.2.1); gRPC leaves that of a message as it is."""
    name, value = pair
    bare = value.strip(b" \t")
    if bare == value or name != b"grpc-message":
        return name, bare
    start, _, end = value.partition(bare) if bare else (value, b"", b"")
    return name, quote_from_bytes(start, safe="").encode() + bare + quote_from_bytes(end, safe="").encode()


def _passed(name: bytes) -> bool:
    return not name.startswith(b":") and name not in HOP_BY_HOP and name != b"content-length"
