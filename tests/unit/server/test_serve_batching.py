"""Requests that arrive together run together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from modelpress.server import batching, protos
from modelpress.server.batching import Batched, Parameters, Scheduler
from modelpress.server.failure import Code, Failure
from modelpress.server.metrics import Metrics

FEEDS, FETCHES = ("x",), ("y",)


class Model:
    """y = 2x, and what it was asked; waits while `gate` is closed."""

    def __init__(self, result=None):
        self.signatures = {"serving_default": SimpleNamespace(feeds=FEEDS, fetches=FETCHES)}
        self.seen = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.result = result or (lambda x: x * 2)

    def run(self, feeds, values, fetches):
        self.seen.append(values[0])
        self.started.release()
        assert self.gate.wait(20)
        return [self.result(values[0])]

    def close(self):
        pass


def together(model, requests, **parameters):
    """Run requests at once: a first one holds the only thread until all the others are in the queue."""
    scheduler = Scheduler(Parameters(**parameters), Metrics())
    batched = Batched(model, scheduler)
    model.gate.clear()
    (queue,) = batched._queues.values()
    with ThreadPoolExecutor(len(requests) + 1) as threads:
        first = threads.submit(batched.run, FEEDS, [np.zeros((1, 2))], FETCHES)
        assert model.started.acquire(timeout=20)
        futures = []
        for request in requests:
            before = sum(len(batch.tasks) for batch in queue.batches)
            future = threads.submit(batched.run, FEEDS, [request], FETCHES)
            futures.append(future)
            while not future.done() and sum(len(batch.tasks) for batch in queue.batches) == before:
                threading.Event().wait(0.001)
        model.gate.set()
        first.result(20)
        return [future.exception(20) or future.result()[0] for future in futures]


def row(*values):
    return np.array([values], float)


def test_waiting_requests_become_one_batch_and_get_their_own_rows():
    model = Model()
    answers = together(model, [row(1, 2), row(3, 4), np.ones((3, 2))])
    assert [array.shape for array in model.seen] == [(1, 2), (5, 2)]
    assert answers[1].tolist() == [[6, 8]]
    assert answers[2].tolist() == [[2, 2]] * 3


def test_a_batch_is_never_larger_than_the_most():
    model = Model()
    together(model, [row(1, 1)] * 5, max_batch_size=2)
    assert [len(array) for array in model.seen] == [1, 2, 2, 1]


def test_a_request_larger_than_a_batch_is_refused():
    batched = Batched(Model(), Scheduler(Parameters(max_batch_size=4), Metrics()))
    with pytest.raises(Failure) as caught:
        batched.run(FEEDS, [np.ones((5, 2))], FETCHES)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.message == "Task size 5 is larger than maximum input batch size 4"


def test_a_full_queue_is_unavailable_at_once():
    *accepted, refused = together(Model(), [row(1, 1)] * 3, max_batch_size=1, max_enqueued_batches=2)
    assert all(isinstance(answer, np.ndarray) for answer in accepted)
    assert refused.code is Code.UNAVAILABLE
    assert "is full; currently 2 batches enqueued and max_enqueued_batches is 2" in refused.message


def test_batches_grow_to_an_allowed_size_with_copies_of_a_row():
    model = Model()
    answers = together(model, [row(1, 1), row(2, 2), row(3, 3)], max_batch_size=8, allowed_batch_sizes=(1, 4, 8))
    assert model.seen[1].tolist() == [[1, 1], [2, 2], [3, 3], [3, 3]]
    assert [answer.tolist() for answer in answers] == [[[2, 2]], [[4, 4]], [[6, 6]]]


def test_unequal_lengths_fail_together_without_padding():
    answers = together(Model(), [row(1, 1), row(1, 1, 1)])
    assert {answer.code for answer in answers} == {Code.FAILED_PRECONDITION}
    assert "padding is turned off" in answers[0].message


def test_unequal_lengths_are_padded_with_the_first_element():
    model = Model()
    together(model, [row(7, 1), row(1, 2, 3)], pad_variable_length=True)
    assert model.seen[1].tolist() == [[7, 1, 7], [1, 2, 3]]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda x: np.array(1.0), "Batched output tensor has 0 dimensions"),
        (lambda x: x[:-1], "Batched output tensor's 0th dimension does not equal the sum of"),
    ],
)
def test_outputs_must_have_a_row_for_each_input(result, said):
    batched = Batched(Model(result), Scheduler(Parameters(), Metrics()))
    with pytest.raises(Failure, match=said) as caught:
        batched.run(FEEDS, [np.ones((3, 2))], FETCHES)
    assert caught.value.code is Code.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([np.array(1.0)], "Batching Run() input tensors must have at least one dimension"),
        ([np.ones(2), np.ones(3)], "Batching Run() input tensors must have equal 0th-dimension size"),
    ],
)
def test_inputs_must_agree_on_their_rows(values, said):
    batched = Batched(Model(), Scheduler(Parameters(), Metrics()))
    with pytest.raises(Failure) as caught:
        batched.run(FEEDS, values, FETCHES)
    assert caught.value.message == said


def test_an_output_filter_runs_alone():
    model = Model()
    batched = Batched(model, Scheduler(Parameters(max_batch_size=1), Metrics()))
    assert len(batched.run(FEEDS, [np.ones((5, 2))], ("other",))[0]) == 5


def test_parameters_are_read_from_text():
    from google.protobuf import text_format

    text = "max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } allowed_batch_sizes: [2, 8]"
    message = text_format.Parse(text, protos.BatchingParameters())
    assert batching.parameters(message, processors=3) == Parameters(
        max_batch_size=8, timeout_seconds=0.002, threads=3, allowed_batch_sizes=(2, 8)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allowed_batch_sizes: [2, 4]", "Last entry in allowed_batch_sizes must match max_batch_size"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive"),
        ("enable_large_batch_splitting { value: true }", "enable_large_batch_splitting is not supported"),
    ],
)
def test_parameters_that_contradict_themselves_are_refused(text, said):
    from google.protobuf import text_format

    with pytest.raises(Failure, match=said):
        batching.parameters(text_format.Parse(text, protos.BatchingParameters()), processors=1)
