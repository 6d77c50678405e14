"""Asking the model common questions before anybody waits for the answers: recorded ones, and those asked most before.

They are asked one at a time and only while no live request is in the model or waits for it. Whoever asks the same
meanwhile shares the call. It ends when memory is as full as it may become without displacing anything.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from modelpress.api.errors import Invalid
from modelpress.sidecar.pipeline import Pipeline
from modelpress.sidecar.popular import Asked
from modelpress.sidecar.question import Fetched, Question
from modelpress.sidecar.wire_pb2 import PredictionLog
from modelpress.storage import tfrecord

log = logging.getLogger(__name__)

PATH = "/tensorflow.serving.PredictionService/Predict"
PATIENCE = 0.02
"""Seconds until a busy model, or one that is not there yet, is looked at again."""
FULL = 0.9
"""Share of the memory tier."""


@dataclass
class Progress:
    """How far it is, as /state and the metrics show it."""

    phase: str = "Waiting"
    """Waiting, Running, Done."""
    total: int = 0
    answered: int = 0
    """Asked, and the answer kept."""
    known: int = 0
    """There already, in some tier."""
    unsuitable: int = 0
    """Not for the cache, for another model, or not understood."""
    failed: int = 0
    left_out: int = 0
    """Memory was full."""

    @property
    def done(self) -> int:
        """Those that need no more work."""
        return self.answered + self.known + self.unsuitable + self.failed + self.left_out


def recorded(path: Path, model: str) -> Iterator[Asked | None]:
    """The requests of a TFRecord file of PredictionLogs, as for this model; None for what is no Predict request.

    Raises Invalid `Unreadable`, OSError.
    """
    for content in tfrecord.contents(path):
        try:
            parsed = PredictionLog.FromString(content)
        except DecodeError:
            yield None
            continue
        if not parsed.predict_log.HasField("request"):
            yield None
            continue
        request = parsed.predict_log.request
        if not request.model_spec.name:
            request.model_spec.name = model
        message = request.SerializeToString()
        yield Asked("grpc", PATH, b"\0" + len(message).to_bytes(4, "big") + message)


class Prefetch:
    """One run over a list of questions; `question` makes of what was asked something that can be asked again."""

    def __init__(self, pipeline: Pipeline, question: Callable[[Asked], Question]) -> None:
        self._pipeline = pipeline
        self._question = question
        self.progress = Progress()

    async def run(self, path: Path | None, popular: list[Asked]) -> None:
        """The popular ones first. A file that cannot be read is told and left out: it is no reason not to serve."""
        progress, model = self.progress, self._pipeline.identity.model
        try:
            progress.total = len(popular) + (tfrecord.count(path) if path else 0)
            progress.phase = "Running" if progress.total else "Done"
            for asked in itertools.chain(popular, recorded(path, model) if path else ()):
                await self._one(asked)
        except (Invalid, OSError) as error:
            log.warning("Common requests cannot be prefetched: %s", error)
        progress.phase = "Done"
        if progress.total:
            log.info("Prefetched %d of %d common requests", progress.answered, progress.total)

    async def _one(self, asked: Asked | None) -> None:
        progress, pipeline = self.progress, self._pipeline
        if asked is None:
            progress.unsuitable += 1
            return
        await self._idle()
        if pipeline.memory.used > FULL * pipeline.memory.size:
            progress.left_out += 1
            return
        while (outcome := await pipeline.prefetch(self._question(asked))) is Fetched.BUSY:
            await self._idle()
        match outcome:
            case Fetched.ANSWERED:
                progress.answered += 1
            case Fetched.KNOWN:
                progress.known += 1
            case Fetched.FAILED:
                progress.failed += 1
            case _:
                progress.unsuitable += 1

    async def _idle(self) -> None:
        """Until a version is known and no live request is in the model or waits for it."""
        pipeline, limiter = self._pipeline, self._pipeline.limiter
        while pipeline.availability.version is None or limiter.in_flight or limiter.queued or pipeline.resting:  # noqa: ASYNC110
            await asyncio.sleep(PATIENCE)  # lowest priority: nobody on the way of a request tells us anything
