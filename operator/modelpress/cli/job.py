"""What `compress` and `evaluate` share as containers of Jobs: the request comes in, one message goes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from modelpress.api.errors import Invalid
from modelpress.api.message import EXIT_INVALID, Message
from modelpress.api.request import Request

REQUEST_VARIABLE = "MODELPRESS_REQUEST"
MESSAGE_VARIABLE = "MODELPRESS_MESSAGE_PATH"
MESSAGE_PATH = "/dev/termination-log"


def run(work: Callable[[Request], Message], *, request: Path | None, output: str) -> None:
    """Do the work and report its message. Bad input exits with 64, for good; other errors are raised, and retried."""
    try:
        message = work(_asked(request))
    except Invalid as error:
        report(
            Message(outcome="Invalid", reason=error.reason, field=error.field or None, message=error.message), output
        )
        print(f"{error.reason}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_INVALID)
    except Exception as error:
        report(Message(outcome="Failed", reason=type(error).__name__, message=str(error)[:1000]), output)
        raise
    report(message, output)


def report(message: Message, output: str) -> None:
    """Write the message where the kubelet reads it, if that can be written, and on standard output for `json`."""
    line = message.fitted().json_line()
    path = Path(os.environ.get(MESSAGE_VARIABLE, MESSAGE_PATH))
    if MESSAGE_VARIABLE in os.environ or os.access(path, os.W_OK):
        path.write_text(line)
    if output == "json":
        print(message.json_line())  # noqa: T201


def _asked(request: Path | None) -> Request:
    text = request.read_text() if request else os.environ.get(REQUEST_VARIABLE)
    if text is None:
        raise Invalid("RequestMissing", f"set {REQUEST_VARIABLE}, or --request FILE")
    try:
        return Request.from_json(text)
    except ValidationError as error:
        raise Invalid("RequestUnreadable", f"the request does not fit this version: {error}") from error
