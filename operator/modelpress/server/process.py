"""The server as a process: load, then listen, then drain on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from modelpress import __version__
from modelpress.server import flags as command_line
from modelpress.server.failure import Failure
from modelpress.server.flags import Value

log = logging.getLogger(__name__)

FAILED = 255
"""tensorflow_model_server returns -1."""
DRAIN_SECONDS = 10.0
HOST_VARIABLE = "MODELPRESS_SERVE_HOST"
"""Address to listen on; TensorFlow Serving has no such flag and listens on all."""


def main(arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises Invalid for a bad command line."""
    if "--help" in arguments:
        sys.stdout.write(command_line.usage() + "\n")
        return 0
    flags = command_line.parse(arguments)
    if flags["version"]:
        from importlib.metadata import version

        sys.stdout.write(f"modelpress serve: {__version__}\nTensorFlow Library: {version('tensorflow')}\n")
        return 0
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname).1s %(name)s] %(message)s"
    )
    stopping = _Stopping()
    for sentence in command_line.unheeded(flags):
        log.warning("%s", sentence)
    try:
        return _serve(flags, stopping)
    except Failure as failure:
        log.error("Failed to start server. Error: %s", failure)
        return FAILED


class _Stopping:
    """SIGTERM and SIGINT: at once while nothing is served yet, else an event."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.serving = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.serving:
            # Threads may be inside TensorFlow, which has no way to give up a load.
            os._exit(0)
        self.event.set()


def _serve(flags: Mapping[str, Value], stopping: _Stopping) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # TensorFlow imports Keras, and with it half of SciPy, when it can: 150 MB and half of the start for nothing here.
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    from modelpress.server import assembly

    assembled = assembly.assemble(flags)
    host = os.environ.get(HOST_VARIABLE)
    rpc_server, rest_server = assembly.listen(assembled, flags, host=host)
    stopping.serving = True
    log.info("Running gRPC ModelServer at %s ...", ", ".join(assembly.addresses(flags, host)))
    if rest_server is not None:
        log.info("Exporting HTTP/REST API at:%s:%s ...", host or "localhost", flags["rest_api_port"])
    stopping.event.wait()
    log.info("Stopping")
    _drain(assembled, rpc_server, rest_server)
    # Interpreter and TensorFlow tear-down take seconds and change nothing.
    logging.shutdown()
    os._exit(0)


def _drain(assembled: Any, rpc_server: Any, rest_server: Any) -> None:
    assembled.versions.stop()
    stopped = rpc_server.stop(DRAIN_SECONDS)
    if rest_server is not None:
        rest_server.stop()
    stopped.wait(DRAIN_SECONDS)
