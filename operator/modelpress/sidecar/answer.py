"""What goes back to a client, in the same form for gRPC and REST, from upstream or from memory."""

from __future__ import annotations

from typing import NamedTuple

from modelpress.sidecar.headers import Headers


class Answer(NamedTuple):
    """A response; `trailers` only for gRPC, where a refusal or error may have nothing else."""

    status: int
    headers: Headers
    body: bytes
    trailers: Headers = ()

    @property
    def succeeded(self) -> bool:
        """HTTP 200 and, for gRPC, status 0."""
        return self.status == 200 and (not self.trailers or (b"grpc-status", b"0") in self.trailers)


HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Headers that belong to one connection (RFC 9110, 7.6.1) and are never forwarded."""
