"""A request that has been read, and what may become of it; gRPC and REST each bring their own."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from modelpress.sidecar.answer import Answer
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.reason import Bypass
from modelpress.sidecar.rollout.backend import Backend

if TYPE_CHECKING:
    from modelpress.sidecar.rollout.outputs import Outputs


class Reply(NamedTuple):
    """What upstream said. `kept` is the form to be kept, None where the answer must not be."""

    answer: Answer
    kept: Answer | None = None


class Fetched(Enum):
    """What became of a question that nobody has asked yet."""

    ANSWERED = auto()
    KNOWN = auto()
    UNSUITABLE = auto()
    FAILED = auto()
    BUSY = auto()
    """A live request came first."""


class Question(ABC):
    """A request that has been read."""

    method: str
    """Part of the key, e.g. `grpc/Predict`."""
    context: bytes = b""
    """What the answer depends on beside the method and the body, as it was sent."""
    chunks: list[bytes]
    hashed: bytes | None = None
    """BLAKE3 of the chunks, where it is known."""
    runs_model = True
    """False for status and metadata, which never wait in line."""
    bypass: Bypass | None = None
    """Why this request is not for the cache, where its head already tells."""

    @property
    @abstractmethod
    def deadline(self) -> float:
        """On the loop's clock."""

    def known(self, version: int) -> bytes | None:
        """The canonical key, where it can be had without parsing."""
        return None

    @abstractmethod
    def canonical(self, version: int) -> bytes:
        """The canonical key where `version` answers; raises Uncacheable."""

    @abstractmethod
    async def ask(self, version: int | None) -> Reply:
        """The answer of the model server; failures on the way are answers too. None: whichever version answers."""

    def begin(self, version: int | None, done: Callable[[Reply | None, BaseException | None], None]) -> None:
        """As `ask`, in the background: `done` is told the reply or the error, whoever still waits for it."""

        def ended(task: asyncio.Task[Reply]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            done(None if error else task.result(), error)

        asyncio.get_running_loop().create_task(self.ask(version)).add_done_callback(ended)

    @abstractmethod
    def asked(self) -> Asked | None:
        """How to ask it again, None where its answer depends on more than that tells."""

    @property
    def stays(self) -> bool:
        """Whether only our own model can answer: the request names a version or another model, or is itself a trial."""
        return True

    @property
    def comparable(self) -> bool:
        """Whether `outputs` can tell the outputs in an answer."""
        return False

    async def ask_at(self, backend: Backend, deadline: float) -> Answer:
        """The answer of a candidate; failures on the way are answers too. Only for what does not stay."""
        raise NotImplementedError

    def outputs(self, answer: Answer) -> Outputs:
        """The named outputs in a successful answer; raises Unreadable. Only for what is comparable."""
        raise NotImplementedError
