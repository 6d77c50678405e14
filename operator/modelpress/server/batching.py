"""Concurrent requests joined into batches, with the parameters and the refusals of TensorFlow Serving's batching."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from modelpress.server.failure import Code, Failure, invalid_argument
from modelpress.server.metrics import Metrics
from modelpress.server.servable import Array, Servable

if TYPE_CHECKING:
    from modelpress.server.signatures import Signature

Key = tuple[tuple[str, ...], tuple[str, ...]]
"""Feeds and fetches."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameters:
    """BatchingParameters; sizes are rows."""

    max_batch_size: int = 1000
    timeout_seconds: float = 0.0
    max_enqueued_batches: int = 10
    threads: int = 1
    pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length: bool = False


def parameters(message: Any, *, processors: int) -> Parameters:
    """From a BatchingParameters message; raises Failure for what contradicts itself or is not supported."""
    if message.enable_large_batch_splitting.value:
        raise Failure(
            Code.UNIMPLEMENTED, "enable_large_batch_splitting is not supported by modelpress serve; leave it out"
        )
    found = Parameters(
        max_batch_size=_value(message, "max_batch_size", 1000),
        timeout_seconds=_value(message, "batch_timeout_micros", 0) / 1e6,
        max_enqueued_batches=_value(message, "max_enqueued_batches", 10),
        threads=_value(message, "num_batch_threads", processors),
        pool_name=_value(message, "thread_pool_name", "batch_threads"),
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length=message.pad_variable_length_inputs,
    )
    sizes = found.allowed_batch_sizes
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != found.max_batch_size):
        raise invalid_argument("Last entry in allowed_batch_sizes must match max_batch_size; they must increase")
    for name in ("max_batch_size", "max_enqueued_batches", "threads"):
        if getattr(found, name) < 1:
            raise invalid_argument(f"{name} must be positive; was {getattr(found, name)}")
    return found


def _value(message: Any, field: str, default: Any) -> Any:
    return getattr(message, field).value if message.HasField(field) else default


@dataclasses.dataclass(slots=True)
class _Task:
    values: Sequence[Array]
    rows: int
    enqueued: float
    done: Future[Sequence[Array]]


@dataclasses.dataclass(slots=True)
class _Batch:
    tasks: list[_Task]
    rows: int
    opened: float


class _Queue:
    """Batches of one signature of one version; all but the last are closed."""

    def __init__(self, servable: Servable, key: Key) -> None:
        self.servable, self.key = servable, key
        self.batches: collections.deque[_Batch] = collections.deque()


class Scheduler:
    """The threads that run batches, shared by all models of a server."""

    def __init__(self, parameters: Parameters, metrics: Metrics) -> None:
        self.parameters = parameters
        self._metrics = metrics
        self._changed = threading.Condition()
        self._queues: collections.OrderedDict[int, _Queue] = collections.OrderedDict()
        for number in range(parameters.threads):
            threading.Thread(target=self._work, name=f"{parameters.pool_name}-{number}", daemon=True).start()

    def add(self, queue: _Queue, values: Sequence[Array], rows: int) -> Future[Sequence[Array]]:
        """Put a request into the open batch of its queue; raises Failure when it is too large or there is no room."""
        most = self.parameters.max_batch_size
        if rows > most:
            raise invalid_argument(f"Task size {rows} is larger than maximum input batch size {most}")
        now = time.monotonic()
        task = _Task(values, rows, now, Future())
        self._metrics.input_batch_size.add(rows)
        with self._changed:
            batches = queue.batches
            if batches and batches[-1].rows + rows <= most:
                batches[-1].tasks.append(task)
                batches[-1].rows += rows
            elif len(batches) >= self.parameters.max_enqueued_batches:
                raise Failure(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(batches)} batches enqueued and max_enqueued_batches is "
                    f"{self.parameters.max_enqueued_batches}",
                )
            else:
                batches.append(_Batch([task], rows, now))
            self._queues[id(queue)] = queue
            self._changed.notify()
        return task.done

    def _work(self) -> None:
        while True:
            with self._changed:
                queue, batch = self._next()
            self._run(queue, batch)

    def _next(self) -> tuple[_Queue, _Batch]:
        """Wait for a batch that is closed or has waited long enough; queues take turns."""
        while True:
            now, soonest = time.monotonic(), float("inf")
            for place, queue in list(self._queues.items()):
                if not queue.batches:
                    del self._queues[place]
                    continue
                first = queue.batches[0]
                due = first.opened + self.parameters.timeout_seconds
                if len(queue.batches) > 1 or first.rows >= self.parameters.max_batch_size or due <= now:
                    self._queues.move_to_end(place)
                    return queue, queue.batches.popleft()
                soonest = min(soonest, due)
            self._changed.wait(None if soonest == float("inf") else soonest - now)

    def _run(self, queue: _Queue, batch: _Batch) -> None:
        now = time.monotonic()
        for task in batch.tasks:
            self._metrics.queuing_latency.add((now - task.enqueued) * 1e6, self.parameters.pool_name)
        rows = next((size for size in self.parameters.allowed_batch_sizes if size >= batch.rows), batch.rows)
        self._metrics.processed_batch_size.add(rows)
        self._metrics.padding_size.add(rows - batch.rows, str(rows))
        feeds, fetches = queue.key
        try:
            merged = [
                _merge(name, [task.values[place] for task in batch.tasks], rows - batch.rows, self.parameters)
                for place, name in enumerate(feeds)
            ]
            outputs = queue.servable.run(feeds, merged, fetches)
            self._metrics.wrapped_run_count.add()
            _check_outputs(outputs, rows)
        except Exception as error:
            for task in batch.tasks:
                task.done.set_exception(error)
            return
        start = 0
        for task in batch.tasks:
            task.done.set_result([output[start : start + task.rows] for output in outputs])
            start += task.rows


class Batched:
    """A servable whose signatures run in batches; other combinations of feeds and fetches run alone."""

    def __init__(self, servable: Servable, scheduler: Scheduler) -> None:
        self._servable = servable
        self._scheduler = scheduler
        self._queues = {
            key: _Queue(servable, key) for key in {(s.feeds, s.fetches) for s in servable.signatures.values()}
        }

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the version."""
        return self._servable.signatures

    def run(self, feeds: tuple[str, ...], values: Sequence[Array], fetches: tuple[str, ...]) -> Sequence[Array]:
        """Wait for the batch this request becomes a part of."""
        queue = self._queues.get((feeds, fetches))
        if queue is None:
            return self._servable.run(feeds, values, fetches)
        if any(not value.ndim for value in values):
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes = {value.shape[0] for value in values}
        if len(sizes) != 1:
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        return self._scheduler.add(queue, values, sizes.pop()).result()

    def close(self) -> None:
        """Close the version; no request of it is waiting any more."""
        self._servable.close()


def _merge(name: str, values: Sequence[Array], padding: int, parameters: Parameters) -> Array:
    if len(values) == 1 and not padding:
        return values[0]
    if parameters.pad_variable_length:
        values = _padded(values)
    elif any(value.shape[1:] != values[0].shape[1:] for value in values):
        raise Failure(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. "
            "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
            "dimensions starting with the first dim.",
        )
    # The first row of the last request is a valid row, whatever the model.
    return np.concatenate([*values, *[values[-1][:1]] * padding])


def _padded(values: Sequence[Array]) -> Sequence[Array]:
    """All but the first dimension grown to the largest with each tensor's first element, as TensorFlow Serving does."""
    if len({value.ndim for value in values}) != 1:
        raise invalid_argument("Tensors of one batch have different ranks")
    shape = np.max([value.shape[1:] for value in values], axis=0)
    grown = []
    for value in values:
        missing = [(0, 0), *((0, most - size) for most, size in zip(shape, value.shape[1:], strict=True))]
        if any(after for _, after in missing):
            if not value.size:
                raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
            value = np.pad(value, missing, constant_values=value.flat[0])
        grown.append(value)
    return grown


def _check_outputs(outputs: Sequence[Array], rows: int) -> None:
    for output in outputs:
        if not output.ndim:
            raise Failure(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
        if output.shape[0] != rows:
            raise Failure(
                Code.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors",
            )
