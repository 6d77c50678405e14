"""The HTTP API: predict, classify, regress, status, metadata and metrics."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import abc, http_parser, streams, web
from google.protobuf import json_format
from tensorflow_serving.apis import classification_pb2, regression_pb2

from modelpress.server import (
    example_request,
    examples,
    inference,
    json_request,
    json_response,
    metadata,
    signatures,
)
from modelpress.server.failure import HTTP_STATUS, Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.versions import Versions

log = logging.getLogger(__name__)

_PLACE = r"(?i)/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_INFERENCE = re.compile(_PLACE + r":(classify|regress|predict)")
_STATUS = re.compile(r"(?i)/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?")
_LARGEST_VERSION = 2**63 - 1
_BODY_LIMIT = 2**31 - 1
_READ_BUFFER = 2**20
_DRAIN_SECONDS = 10.0
_GZIP_LIMIT = 100 * 1024 * 1024
_NOT_FOUND = "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_TIMED_OUT = "Timed out waiting for notification"


class Handler:
    """Answers requests; everything but the reading of bodies runs in a thread."""

    def __init__(self, versions: Versions, metrics: Metrics, *, check_methods: bool) -> None:
        self._versions = versions
        self._metrics = metrics
        self._check_methods = check_methods

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """HTTP status and JSON body."""
        began = time.perf_counter_ns()
        model = api = ""
        try:
            model, version, label, api = _target(method, path)
            if method == "GET":
                api, text = "", self._describe(model, version, label, api)
            else:
                text = self._infer(model, version, label, api, body)
        except Failure as failure:
            self._metrics.request_count.add(model, failure.code.name)
            return HTTP_STATUS[failure.code], json_response.error(failure.message)
        except Exception as error:
            log.exception("%s %s failed", method, path)
            self._metrics.request_count.add(model, Code.INTERNAL.name)
            return 500, json_response.error(f"{type(error).__name__}: {error}")
        self._metrics.request_count.add(model, "OK")
        self._metrics.request_latency.add((time.perf_counter_ns() - began) / 1000, model, api, "REST")
        return 200, text

    def _infer(self, model: str, version: int | None, label: str | None, api: str, body: bytes) -> bytes:
        if api == "predict":
            return self._predict(model, version, label, body)
        if api == "classify":
            request = example_request.fill(body, classification_pb2.ClassificationRequest())
        else:
            request = example_request.fill(body, regression_pb2.RegressionRequest())
        request.model_spec.name = model
        with self._versions.use(model, version, label) as (_, servable):
            if api == "classify":
                return json_response.classifications(examples.classify(servable, request, metrics=self._metrics)[1])
            return json_response.regressions(examples.regress(servable, request, metrics=self._metrics)[1])

    def _predict(self, model: str, version: int | None, label: str | None, body: bytes) -> bytes:
        document = json_request.parse(body)
        name = json_request.signature_name(document)
        with self._versions.use(model, version, label) as (_, servable):
            signature = servable.signatures.get(name or signatures.DEFAULT)
            if signature is None:
                shown = name or signatures.DEFAULT
                raise invalid_argument(f'Serving signature name: "{shown}" not found in signature def')
            if self._check_methods:
                inference.check_method(signature)
            given, form = json_request.inputs(document, signature.input_types)
            outputs = inference.predict(servable, signature, given, model=model, metrics=self._metrics)
        return json_response.predictions(outputs, form)

    def _describe(self, model: str, version: int | None, label: str | None, resource: str) -> bytes:
        if not resource:
            # A label is not looked at here: TensorFlow Serving answers with every version.
            return _json(metadata.status(self._versions, model, version)).encode()
        with self._versions.use(model, version, label) as (number, servable):
            spec = metadata.metadata(servable, model, number).model_spec
            definitions = metadata.signature_map(servable)
        return (
            f'{{\n"model_spec":{_json(spec)},\n"metadata": {{"signature_def": {_json(definitions)}}}\n}}\n'
        ).encode()


def _json(message: object) -> str:
    return json_format.MessageToJson(
        message,  # type: ignore[arg-type]
        always_print_fields_with_no_presence=True,
        preserving_proto_field_name=True,
        indent=1,
    )


def _target(method: str, path: str) -> tuple[str, int | None, str | None, str]:
    """Model, version, label and what is asked of them."""
    pattern = {"POST": _INFERENCE, "GET": _STATUS}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        raise invalid_argument(f"Malformed request: {method} {path}")
    model, number, label, rest = found.groups()
    if model is None:
        raise invalid_argument("Missing model name in request.")
    if number is not None and int(number) > _LARGEST_VERSION:
        raise invalid_argument(f"Failed to convert version: {number} to numeric.")
    version = int(number) if number is not None else None
    return urllib.parse.unquote(model), version, urllib.parse.unquote(label) if label else None, (rest or "").lower()


def decompressed(body: bytes) -> bytes:
    """A gzip body, at most 100 MB of it; raises Failure."""
    reader = zlib.decompressobj(wbits=31)
    try:
        text = reader.decompress(body, _GZIP_LIMIT)
    except zlib.error as error:
        raise invalid_argument(f"Failed to decompress the gzip request body: {error}") from None
    if reader.unconsumed_tail:
        raise invalid_argument(f"The decompressed request body is larger than {_GZIP_LIMIT} bytes")
    if not reader.eof:
        raise invalid_argument("Failed to decompress the gzip request body: it is not complete")
    return text


def _request(
    loop: asyncio.AbstractEventLoop,
    message: http_parser.RawRequestMessage,
    payload: streams.StreamReader,
    protocol: web.RequestHandler,
    writer: abc.AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """A request that may be as large as a gRPC one."""
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_BODY_LIMIT)


class Server:
    """The HTTP server, with an event loop in a thread of its own."""

    def __init__(
        self,
        handler: Handler,
        *,
        host: str | None,
        port: int,
        threads: int,
        timeout_seconds: float,
        cors: bool = False,
        metrics_path: str | None = None,
        page: Callable[[], str] = str,
    ) -> None:
        """Listen; Failure where the port cannot be bound. `metrics_path` None has no metrics."""
        self._handler = handler
        self._timeout = timeout_seconds
        self._headers = {"Content-Type": "application/json", **(_CORS if cors else {})}
        self._cors = cors
        self._metrics_path, self._page = metrics_path, page
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rest")
        self._loop = asyncio.new_event_loop()
        self._runner: web.ServerRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="rest-loop", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop).result()
        except OSError as error:
            self.stop()
            raise Failure(Code.UNAVAILABLE, f"Cannot listen for HTTP on port {port}: {error}") from error

    def stop(self) -> None:
        """Accept no more, let what runs finish within ten seconds; nothing happens the second time."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_DRAIN_SECONDS + 5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._threads.shutdown(wait=False)

    async def _listen(self, host: str | None, port: int) -> None:
        server = web.Server(
            self._handle,
            request_factory=functools.partial(_request, self._loop),
            # aiohttp would decompress without a cap.
            auto_decompress=False,
            access_log=None,
            read_bufsize=_READ_BUFFER,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_DRAIN_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=1024).start()

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if path == self._metrics_path:
            return web.Response(text=self._page())
        if not path.lower().startswith("/v1/"):
            return web.Response(status=404, text=_NOT_FOUND, content_type="text/html")
        if request.method == "OPTIONS" and self._cors:
            return web.Response(headers=self._headers)
        try:
            body = await self._body(request)
            status, text = await asyncio.wait_for(
                self._loop.run_in_executor(
                    self._threads, functools.partial(self._handler.answer, request.method, path, body)
                ),
                self._timeout,
            )
        except TimeoutError:
            status, text = HTTP_STATUS[Code.DEADLINE_EXCEEDED], json_response.error(_TIMED_OUT)
        except Failure as failure:
            status, text = HTTP_STATUS[failure.code], json_response.error(failure.message)
        return web.Response(status=status, body=text, headers=self._headers)

    async def _body(self, request: web.BaseRequest) -> bytes:
        body = await request.read() if request.body_exists else b""
        if request.headers.get("Content-Encoding", "").lower() == "gzip":
            return await self._loop.run_in_executor(self._threads, decompressed, body)
        return body
