"""What a request says before its body."""

from __future__ import annotations

from modelpress.sidecar.headers import Headers


class Head:
    """Never changed once it is made, so that a connection may give the same one to all requests that begin alike.

    What a protocol finds out about it is kept in subclasses.
    """

    __slots__ = ("headers", "method", "path", "query")

    def __init__(self, method: str, path: str, query: bytes, headers: Headers) -> None:
        self.method = method
        self.path = path
        """As it was sent, without the query; Latin-1."""
        self.query = query
        self.headers = headers
        """Names in lower case, in the order of the client, without HTTP/2's pseudo-headers."""

    def value(self, name: bytes) -> bytes | None:
        """The first header of a name."""
        return next((value for found, value in self.headers if found == name), None)
