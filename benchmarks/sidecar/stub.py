"""The upstream: answers every Predict and every REST request at once, with always the same bytes.

    h2corn [options] benchmarks.sidecar.stub:application

The same native server as the sidecar's own, and nothing behind it: the fastest model there can be.
"""

from __future__ import annotations

from typing import Any

from benchmarks.sidecar import requests

_MESSAGE = {"type": "http.response.body", "body": requests.framed(requests.response())}
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/grpc")],
    "trailers": True,
}
_TRAILERS = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """One request."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == requests.PREDICT:
        await send(_START)
        await send(_MESSAGE)
        await send(_TRAILERS)
        return
    body = requests.STATUS if scope["method"] == "GET" else requests.REST_RESPONSE
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
