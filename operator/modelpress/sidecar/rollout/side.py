"""What became of the requests that went to one side of a split."""

from __future__ import annotations

from collections import Counter
from typing import Any

from modelpress.sidecar import grpc_codes
from modelpress.sidecar.answer import Answer
from modelpress.sidecar.measures import SLOW, Distribution
from modelpress.sidecar.rollout.sketch import Sketch

SERVER_ERRORS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""gRPC codes that are the server's fault; of HTTP it is all from 500. Overload (429) is neither."""


def code(answer: Answer) -> str:
    """The name of the gRPC code, or the HTTP status."""
    if not answer.trailers:
        return str(answer.status)
    status = next((value for name, value in answer.trailers if name == b"grpc-status"), b"2")
    return grpc_codes.name(status)


def is_error(code: str) -> bool:
    """Whether the server is to blame."""
    return code in SERVER_ERRORS or (code.isdecimal() and int(code) >= 500)


class Side:
    """Counts and latencies of all requests, answers from the cache included."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.refused = 0
        """Turned away before the model, by us."""
        self.latency = Sketch()
        self.seconds = Distribution(SLOW)

    @property
    def requests(self) -> int:
        """All, refused ones included."""
        return self.codes.total() + self.refused

    @property
    def errors(self) -> int:
        """Those that ended by the server's fault."""
        return sum(count for name, count in self.codes.items() if is_error(name))

    def answered(self, answer: Answer, seconds: float) -> None:
        """One more."""
        self.codes[code(answer)] += 1
        self.latency.observe(seconds)
        self.seconds.observe(seconds)

    def state(self) -> dict[str, Any]:
        """As `/state` shows it."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "refused": self.refused,
            "codes": dict(sorted(self.codes.items())),
            "seconds": self.latency.state(),
        }
