"""The training loop: updates, epochs, early stopping, checkpoints. Equal inputs and seed give equal weights."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

from modelpress.api.errors import Invalid
from modelpress.compress.dataset import Array
from modelpress.compress.training import checkpoint, divergence, precision, schedule, workers
from modelpress.compress.training.batches import Batch, Batches
from modelpress.compress.training.course import NOT_MIXED, Course, History, Task
from modelpress.compress.training.crew import WorkerLost
from modelpress.compress.training.journal import Journal
from modelpress.compress.training.place import Place
from modelpress.compress.training.standing import Standing, from_chief

PATIENCE = 3
"""Epochs without a better loss on the rows kept out, after which training stops."""
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
MOMENTUM = 0.99
"""Of moving averages, after the first updates."""
HOLD_OUT_FROM = 2
"""Epochs from which on rows are kept out: with one there is nothing to choose from."""


def train(task: Task, course: Course, place: Place) -> History:
    """Trains the variables in place; they end as after the best epoch.

    Raises Invalid `InvalidWorkers`, `StepCannotApply` where no gradient reaches any variable, `TrainingDiverged`;
    WorkerLost.
    """
    wanted = course.training.mixed_precision
    with deterministic(course.training.seed), _told_of_lost_workers(), precision.mixed(wanted) as is_mixed:
        if wanted and not is_mixed:
            place.progress.say(f"Warning: {course.title}: {NOT_MIXED}")
        history = _Loop(task, course, place).run()
        return dataclasses.replace(history, mixed=is_mixed if wanted else None, threads=_threads())


def _threads() -> int | None:
    """As TensorFlow chooses where it was not told: one for each CPU that this process may run on."""
    if tf.config.list_logical_devices("GPU"):
        return None
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return tf.config.threading.get_intra_op_parallelism_threads() or own


class _Loop:
    def __init__(self, task: Task, course: Course, place: Place) -> None:
        self._task, self._course, self._place = task, course, place
        self._workers = workers.joined()
        self._batches = Batches(
            task.rows,
            task.signature,
            size=course.training.batch_size,
            seed=course.training.seed,
            hold_out=course.epochs >= HOLD_OUT_FROM,
        )
        self._batches.require_parts(self._workers.count)
        planned = course.epochs * self._batches.count
        self._total = planned if course.updates is None else min(planned, course.updates)
        self._optimizer = _optimizer(course)
        self._optimizer.build(list(task.trainable.values()))
        self._update = tf.function(self._traced_update, reduce_retracing=True)
        self._held_out = tf.function(task.held_out_loss or task.loss, reduce_retracing=True)
        self._best: dict[str, Array] = {}
        self._written = time.monotonic()

    def run(self) -> History:
        task, course = self._task, self._course
        standing = self._restored()
        resumed = standing.epoch * self._batches.count + standing.batch
        logs = self._place.logs if self._workers.is_chief else None
        title = f"{course.title} on {len(task.rows):,} rows"
        with (
            Journal(logs, task, profile=self._place.profile) as journal,
            self._place.progress.step(title, total=self._total) as shown,
        ):
            shown.advance(resumed)
            while not self._is_over(standing):
                self._epoch(standing, journal, shown)
                self._conclude_epoch(standing, journal)
                self._checkpoint(standing)
        if self._best:
            self._assign(self._best, only_model=True)
        return History(standing.losses, standing.held_out, max(0, standing.best), standing.stopped, resumed)

    def _is_over(self, standing: Standing) -> bool:
        return standing.stopped or standing.epoch * self._batches.count >= self._total

    def _epoch(self, standing: Standing, journal: Journal, shown: Any) -> None:
        order, count = self._batches.order(standing.epoch), self._batches.count
        while standing.batch < count and standing.epoch * count + standing.batch < self._total:
            number = standing.epoch * count + standing.batch
            batch = self._batches.take(order, standing.batch, worker=self._workers.index, workers=self._workers.count)
            if self._course.before is not None:
                self._course.before(number, self._total)
            rate = schedule.learning_rate(
                number, self._total, self._course.learning_rate, self._course.training.schedule or "Cosine"
            )
            self._optimizer.learning_rate.assign(rate)
            with journal.update(number):
                loss = float(self._update(batch.inputs, batch.labels, tf.constant(batch.share, tf.float32)))
            self._require_finite(loss)
            standing.watch = standing.watch.after(loss, self._task.worthless)
            self._require_learning(standing.watch)
            journal.updated(number, loss=loss, learning_rate=rate)
            standing.total += loss
            standing.batch += 1
            shown.advance()
            if time.monotonic() - self._written >= self._place.every_seconds:
                self._checkpoint(standing)

    def _conclude_epoch(self, standing: Standing, journal: Journal) -> None:
        standing.losses = (*standing.losses, standing.total / standing.batch)
        done = standing.epoch * self._batches.count + standing.batch
        if self._batches.held_rows:
            mine = sum(self._held_loss(batch) for batch in self._batches.held())
            held = float(self._workers.agreed([np.array(mine)])[0])
            self._require_finite(held)
            standing.held_out = (*standing.held_out, held)
            journal.epoch(done, held_out=held)
            self._keep_best(standing, held, done)
        else:
            standing.best = standing.epoch
            journal.epoch(done)
        standing.epoch, standing.batch, standing.total = standing.epoch + 1, 0, 0.0

    def _keep_best(self, standing: Standing, held: float, done: int) -> None:
        if self._course.best_from is not None and done < self._course.best_from(self._total):
            return
        if standing.best < 0 or held < standing.held_out[standing.best]:
            standing.best = standing.epoch
            self._best = {f"best_{name}": value for name, value in self._model_arrays().items()}
        standing.stopped = standing.epoch - standing.best >= PATIENCE

    def _held_loss(self, batch: Batch) -> float:
        return float(self._held_out(batch.inputs, batch.labels)) * batch.share

    def _require_finite(self, loss: float) -> None:
        if not np.isfinite(loss):
            raise Invalid(
                "TrainingDiverged",
                f"the loss became {loss}; lower learningRate ({self._course.learning_rate:g}), "
                "and check the rows for NaN",
                field=f"{self._course.field}.learningRate",
            )

    def _require_learning(self, watch: divergence.Watch) -> None:
        if watch.is_diverged:
            raise Invalid(
                "TrainingDiverged",
                f"the loss rose from {watch.first:.3g} to {watch.recent:.3g} in {watch.updates} updates, while always "
                f"giving the same answer would cost {self._task.worthless:.3g}; lower learningRate "
                f"({self._course.learning_rate:g})",
                field=f"{self._course.field}.learningRate",
            )

    def _traced_update(self, inputs: dict[str, Any], labels: dict[str, Any], share: Any) -> Any:
        """One update of the weights; gives the loss over the rows of all workers."""
        trainable, constraints = self._task.trainable, self._task.constraints
        reached: list[int] = []
        averaged: list[int] = []

        def local() -> list[Any]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(list(trainable.values()))
                total = tf.cast(self._task.loss(inputs, labels), tf.float32) * share
            gradients = dict(zip(trainable, tape.gradient(total, list(trainable.values())), strict=True))
            reached[:] = [position for position, gradient in gradients.items() if gradient is not None]
            seen = self._task.seen() if self._task.seen else {}
            averaged[:] = list(seen)
            return [total, *(gradients[position] for position in reached), *(seen[place] * share for place in averaged)]

        total, *found = self._workers.summed(local)
        gradients, seen = found[: len(reached)], dict(zip(averaged, found[len(reached) :], strict=True))
        if not reached:
            raise Invalid(
                "StepCannotApply",
                "no gradient reaches a variable of the model, so that it cannot be trained; leave the step out",
                field=self._course.field,
            )
        if self._course.training.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._course.training.clip_norm)
        held = constraints.gradients(dict(zip(reached, gradients, strict=True)))
        self._optimizer.apply_gradients([(gradient, trainable[position]) for position, gradient in held.items()])
        constraints.hold()
        self._follow(seen)
        return total

    def _follow(self, seen: dict[int, Any]) -> None:
        """Moves averages towards what the batch says, at first faster: their old values are of another net. Traced."""
        done = tf.cast(self._optimizer.iterations, tf.float32)
        kept = tf.minimum(MOMENTUM, done / (done + 10.0))
        for position, value in seen.items():
            variable = self._task.variables[position]
            variable.assign(kept * variable + (1.0 - kept) * value)

    def _model_arrays(self) -> dict[str, Array]:
        state = [*self._task.variables, *self._task.constraints.state]
        return {f"model_{place}": np.asarray(variable) for place, variable in enumerate(state)}

    def _arrays(self) -> dict[str, Array]:
        found = {f"optimizer_{place}": np.asarray(one) for place, one in enumerate(self._optimizer.variables)}
        return self._model_arrays() | found

    def _assign(self, arrays: dict[str, Array], *, only_model: bool = False) -> None:
        prefix = "best_" if only_model else ""
        state = [*self._task.variables, *self._task.constraints.state]
        for place, variable in enumerate(state):
            variable.assign(arrays[f"{prefix}model_{place}"])
        for place, variable in enumerate([] if only_model else self._optimizer.variables):
            variable.assign(arrays[f"optimizer_{place}"])

    def _checkpoint(self, standing: Standing) -> None:
        if self._place.checkpoints is not None and self._workers.is_chief:
            state = checkpoint.State(standing.plain(), self._arrays() | self._best)
            checkpoint.write(self._place.checkpoints, state)
            if self._place.keep is not None:
                self._place.keep(self._place.checkpoints / checkpoint.FILE_NAME)
        self._written = time.monotonic()

    def _restored(self) -> Standing:
        """Where a killed run was, on all workers; the beginning without one."""
        found = None
        if self._place.checkpoints is not None and self._workers.is_chief:
            if self._place.recall is not None:
                self._place.recall(self._place.checkpoints / checkpoint.FILE_NAME)
            expected = [(name, value.shape) for name, value in self._arrays().items()]
            found = checkpoint.read(self._place.checkpoints, expected)
        state = from_chief(self._workers, found, self._model_arrays(), self._arrays())
        if state is None:
            return Standing()
        self._best = {name: value for name, value in state.arrays.items() if name.startswith("best_")}
        self._assign(state.arrays)
        return Standing.of(state.counters)


def _optimizer(course: Course) -> Any:
    import tf_keras

    kind = {"Adam": tf_keras.optimizers.Adam, "AdamW": tf_keras.optimizers.AdamW, "SGD": tf_keras.optimizers.SGD}
    return kind[course.training.optimizer](learning_rate=course.learning_rate, jit_compile=False)


@contextlib.contextmanager
def _told_of_lost_workers() -> Iterator[None]:
    try:
        yield
    except _LOST as error:
        if workers.joined().count == 1:
            raise
        raise WorkerLost(_first_words(error)) from error


def _first_words(error: Exception) -> str:
    """Why TensorFlow gave up, without where in the graph it did."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "aborted by" in line), lines[-1] if lines else "no reason given")[:300]


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Equal seeds give equal weights: operations must not race."""
    was = framework_config.is_op_determinism_enabled()
    tf.random.set_seed(seed)
    framework_config.enable_op_determinism()
    try:
        yield
    finally:
        if not was:
            framework_config.disable_op_determinism()
