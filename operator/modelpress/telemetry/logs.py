"""Logs: JSON lines for machines, plain lines for people; what is being worked on comes from the context."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
from collections.abc import Iterator
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

Format = Literal["json", "text"]

_CONTEXT: contextvars.ContextVar[dict[str, object]] = contextvars.ContextVar("log_context", default={})  # noqa: B039
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


@contextlib.contextmanager
def context(**pairs: object) -> Iterator[None]:
    """Every line logged inside carries these pairs."""
    token = _CONTEXT.set(_CONTEXT.get() | pairs)
    try:
        yield
    finally:
        _CONTEXT.reset(token)


class _Json(JsonFormatter):
    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.update(_CONTEXT.get())  # after the renaming of `name`, which here is the object's


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs = {key: value for key, value in record.__dict__.items() if key not in _STANDARD} | _CONTEXT.get()
        return super().format(record) + "".join(f" {key}={value}" for key, value in sorted(pairs.items()))


def configure(form: Format = "json", level: int = logging.INFO) -> None:
    """Send every log line of this process to stderr in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Json(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
        if form == "json"
        else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line for each event of each object
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
