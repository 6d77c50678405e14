"""HTTP/1.1 as bytes (RFC 9112): heads of requests are read, chunked bodies decoded, heads of answers written.

The reading is llhttp's, in its strict mode: what two servers might understand differently is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from http import HTTPStatus

import httptools

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.head import Head
from modelpress.sidecar.headers import Headers
from modelpress.sidecar.reason import Refusal, Refused

LARGEST_HEAD = 1 << 16
LARGEST_TARGET = 1 << 14
"""Bytes, both."""
MOST_HEADERS = 256
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_KEPT_HEADS, _KEPT_HEAD = 512, 2048
"""How many heads are remembered, and the bytes of the longest."""
_SLACK, _SHARE = 1 << 16, 8
"""What may surround the bytes of a chunked body: so many bytes, and so many for each byte of it."""
_BODILESS = frozenset({204, 304})

_Pairs = Iterable[tuple[bytes, bytes]]


class Malformed(Refused):
    """Not a request that this server takes; nothing that follows on its connection can be understood."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(Refusal.MALFORMED, message)
        self.status = status


class Http1Head(Head):
    """The head of a request, and what it says about the connection and the body."""

    __slots__ = ("chunked", "expects", "length", "persistent", "recent")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: Headers,
        *,
        length: int = 0,
        chunked: bool = False,
        persistent: bool = False,
        recent: bool = True,
        expects: bool = False,
    ) -> None:
        super().__init__(method, path, query, headers)
        self.length = length
        """Bytes of the body, where it is not chunked."""
        self.chunked = chunked
        self.persistent = persistent
        """Whether the client would ask again on the same connection."""
        self.recent = recent
        """HTTP/1.1 and not 1.0."""
        self.expects = expects
        """Whether the client waits for `CONTINUE` before it sends the body."""


UNREADABLE = Http1Head("", "", b"", ())
"""Stands for what could not be read."""


def head(block: bytes) -> Http1Head:
    """What a block of lines, up to and with the empty one, says; raises Malformed.

    It depends on nothing but the block, and clients repeat theirs, so those that came last are remembered.
    """
    return _known(block) if len(block) <= _KEPT_HEAD else _read(block)


class _Lines:
    """What llhttp tells."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


def _read(block: bytes) -> Http1Head:
    if len(block) > LARGEST_HEAD:
        raise too_long()
    if not may_be_head(block):
        raise Malformed(400, "Not an HTTP/1.1 request")
    lines = _Lines()
    parser = httptools.HttpRequestParser(lines)
    try:
        parser.feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # nobody has to do what an Upgrade asks for
    except httptools.HttpParserError as error:
        raise Malformed(400, f"Not a valid HTTP/1.1 request: {error}") from error
    if not lines.complete or parser.get_http_version() not in ("1.0", "1.1") or not _is_http(block):
        raise Malformed(505, "This port speaks HTTP/1.1")
    if len(lines.headers) > MOST_HEADERS:
        raise Malformed(431, f"The request has more than {MOST_HEADERS} headers")
    recent = parser.get_http_version() == "1.1"
    return _understood(parser.get_method().decode(), lines.target, lines.headers, recent=recent)


_known = functools.lru_cache(maxsize=_KEPT_HEADS)(_read)


def _is_http(block: bytes) -> bool:
    """llhttp also reads the request lines of RTSP and ICE."""
    return block.partition(b"\r\n")[0].endswith((b" HTTP/1.1", b" HTTP/1.0"))


def may_be_head(start: bytes) -> bool:
    """Whether a head may start so: llhttp would pass over bare line feeds."""
    return start[:1].isupper()


def _understood(method: str, target: bytes, headers: list[tuple[bytes, bytes]], *, recent: bool) -> Http1Head:
    if method == "CONNECT":
        raise Malformed(405, "This is no proxy")
    path, query, authority = _divided(target)
    hosts = _values(headers, b"host")
    if len(hosts) > 1 or (recent and not hosts):
        raise Malformed(400, "A request has exactly one header Host")
    if authority:  # RFC 9112, 3.2.2: it counts, and Host does not
        headers = [(name, authority if name == b"host" else value) for name, value in headers]
    options = _tokens(headers, b"connection")
    if b"websocket" in _tokens(headers, b"upgrade") and b"upgrade" in options:
        raise Malformed(501, "There are no web sockets here")
    expected = _tokens(headers, b"expect")
    if expected - {b"100-continue"}:
        raise Malformed(417, "Only 100-continue can be expected")
    length, chunked = _framing(headers, recent=recent)
    return Http1Head(
        method,
        path.decode("latin-1"),
        query,
        tuple(pair for pair in headers if pair[0] not in options),  # RFC 9110, 7.6.1: they end here
        length=length,
        chunked=chunked,
        persistent=b"close" not in options and (recent or b"keep-alive" in options),
        recent=recent,
        expects=bool(expected) and recent,
    )


def _divided(target: bytes) -> tuple[bytes, bytes, bytes]:
    """Path, query, and the authority where the whole URL was sent."""
    if len(target) > LARGEST_TARGET:
        raise Malformed(414, f"The URL is longer than {LARGEST_TARGET} bytes")
    authority = b""
    if target[:7].lower() == b"http://":
        rest = target[7:]
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        authority, target = rest[:end], rest[end:]
        if not target.startswith(b"/"):
            target = b"/" + target
    if not target.startswith(b"/") or b"#" in target:
        raise Malformed(400, "The URL is not an absolute path, perhaps with a query")
    path, _, query = target.partition(b"?")
    return path, query, authority


def _framing(headers: _Pairs, *, recent: bool) -> tuple[int, bool]:
    """Length of the body, and whether it is chunked instead; llhttp has refused both at once and two lengths."""
    codings = b",".join(_values(headers, b"transfer-encoding"))
    if codings:
        if codings.lower() != b"chunked" or not recent:
            raise Malformed(501, "The only transfer coding here is chunked, and none in HTTP/1.0")
        return 0, True
    lengths = _values(headers, b"content-length")
    return int(lengths[0]) if lengths else 0, False


def _values(headers: _Pairs, name: bytes) -> list[bytes]:
    return [value for found, value in headers if found == name]


def _tokens(headers: _Pairs, name: bytes) -> set[bytes]:
    """The members of a list of tokens, in lower case."""
    members = b",".join(_values(headers, name)).lower().split(b",")
    return {stripped for member in members if (stripped := member.strip())}


def too_long() -> Malformed:
    """A head that is longer than it may be."""
    return Malformed(431, f"URL and headers are longer than {LARGEST_HEAD} bytes")


class Chunked:
    """Decodes one chunked body; it never looks behind its end, however the bytes are cut."""

    _HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    _END = b"\r\n\r\n"
    """With this a chunked body ends, and often it does not end with it: llhttp is fed up to there."""

    def __init__(self) -> None:
        self.ended = False
        self._pieces: list[bytes] = []
        self._fed = self._got = 0
        self._tail = b""
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(self._HEAD)

    def on_body(self, piece: bytes) -> None:
        """Told by llhttp."""
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Told by llhttp."""
        self.ended = True

    def take(self, data: bytes, start: int) -> tuple[bytes, int]:
        """The bytes of the body in `data` from `start`, and where the rest begins; raises Malformed."""
        at = start
        while at < len(data) and not self.ended:
            end = self._cut(data, at)
            self._feed(data[at:end])
            at = end
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._fed += at - start
        self._got += len(body)
        if self._fed - self._got > _SLACK + _SHARE * self._got:
            raise Malformed(400, "The chunks of the body hold too little")
        return body, at

    def _cut(self, data: bytes, at: int) -> int:
        """Behind the next place where the body may end, or behind all of `data`."""
        if self._tail:  # the end may have begun in what came before
            found = (self._tail + data[at : at + 3]).find(self._END)
            if found >= 0:
                return at + found + len(self._END) - len(self._tail)
        found = data.find(self._END, at)
        return found + len(self._END) if found >= 0 else len(data)

    def _feed(self, piece: bytes) -> None:
        self._tail = (self._tail + piece)[-3:]
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise Malformed(400, f"Not a valid chunked body: {error}") from error


@functools.lru_cache(maxsize=512)
def _block(status: int, headers: Headers, length: int | None, option: bytes) -> bytes:
    """The head of an answer; `option` for its header Connection."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())]
    lines += [b"%b: %b\r\n" % pair for pair in headers if length is None or pair[0] != b"content-length"]
    if length is not None:
        lines.append(b"content-length: %d\r\n" % length)
    if option:
        lines.append(b"connection: %b\r\n" % option)
    return b"".join((*lines, b"\r\n"))


def answered(head: Http1Head, answer: Answer, *, closing: bool) -> tuple[bytes, bytes]:
    """Head and body of an answer to a request; after it the connection is closed, if `closing`."""
    option = b"close" if closing else b"" if head.recent else b"keep-alive"
    if answer.status in _BODILESS:
        bare = tuple(pair for pair in answer.headers if pair[0] != b"content-length")
        return _block(answer.status, bare, None, option), b""
    if head.method == "HEAD":
        told = any(name == b"content-length" for name, _ in answer.headers)
        return _block(answer.status, answer.headers, None if told else len(answer.body), option), b""
    return _block(answer.status, answer.headers, len(answer.body), option), answer.body
