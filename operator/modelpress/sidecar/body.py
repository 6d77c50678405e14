"""Reading request bodies: as chunks that are not joined, no larger than allowed, one by one and all together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from modelpress.sidecar.measures import Measures, Protocol
from modelpress.sidecar.reason import Refusal, Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Chunks = list[bytes]


class Bodies:
    """Keeps count of the bytes of all bodies that are held; `total` is the most that may be held together."""

    def __init__(self, measures: Measures, *, largest: int, total: int) -> None:
        self._measures = measures
        self.largest = largest
        self.total = total

    async def read(self, receive: Receive, counts: Protocol) -> tuple[Chunks, int]:
        """The chunks of a body and their length, which must be given back with `release`.

        Raises Refused and CancelledError, and counts what it raises.
        """
        chunks: Chunks = []
        length = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refused(Refusal.CLIENT_GONE, "The client has gone")
                chunk = message.get("body")
                if chunk:
                    length += len(chunk)
                    self._measures.body_bytes += len(chunk)
                    if length > self.largest or self._measures.body_bytes > self.total:
                        raise self._too_much(length)
                    chunks.append(chunk)
                if not message.get("more_body"):
                    return chunks, length
        except BaseException as error:
            self.release(length)
            counts.refused[error.reason if isinstance(error, Refused) else Refusal.CLIENT_GONE] += 1
            raise

    def release(self, length: int) -> None:
        """The body is no longer held."""
        self._measures.body_bytes -= length

    def _too_much(self, length: int) -> Refused:
        if length > self.largest:
            return Refused(Refusal.TOO_LARGE, f"The request is larger than {self.largest} bytes")
        return Refused(Refusal.MEMORY, f"The requests in progress hold more than {self.total} bytes", retry_after=1.0)
