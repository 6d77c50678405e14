"""What a request or a load can end with: a canonical status code and a sentence, in TensorFlow Serving's words."""

from __future__ import annotations

from modelpress.api.grpc_code import GrpcCode

Code = GrpcCode
"""The canonical codes; numbers and names are those of gRPC and of TensorFlow."""

HTTP_STATUS = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


class Failure(Exception):
    """A request or a load that did not succeed."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str) -> Failure:
    """INVALID_ARGUMENT, the commonest of all."""
    return Failure(Code.INVALID_ARGUMENT, message)
