"""How often a candidate is timed: once, and once more where noise alone would decide."""

from __future__ import annotations

import numpy as np
import pytest

from modelpress.api.errors import Invalid
from modelpress.api.gate import Gate
from modelpress.api.recipe import Recipe
from modelpress.api.request import Request, Target
from modelpress.api.serving import Batching
from modelpress.api.source import Source
from modelpress.compress.dataset import Rows
from modelpress.compress.evaluation import latency, timing
from modelpress.compress.signature import Signature, Tensor
from modelpress.telemetry.progress import Silent


def times_of(ratio, *, noise):
    """24 blocks of 50 requests that the server needed 10 ms for."""
    random = np.random.default_rng(5)
    return latency.Timed(
        *(tuple(10 * factor * random.lognormal(0, noise, 50) for _ in range(24)) for factor in (1.0, ratio))
    )


def asked(*, batching=None, concurrency=1, rows=1):
    """A request for a latency of so many rows at once."""
    return Request(
        name="m",
        source=Source(uri="/m"),
        recipe=Recipe(),
        gate=Gate.model_validate({"latency": {"percentile": 50, "batchSize": rows}}),
        target=Target(threads=1, concurrency=concurrency, batching=batching and Batching(max_batch_size=batching)),
        store="/s",
    )


@pytest.fixture
def measured(monkeypatch):
    """The measurement where each turn takes what is prepared for it; gives the plans that were asked for, too."""

    def run(*turns):
        left, plans = list(turns), []

        def together(rows, signature, source, candidates, plan, progress):
            plans.append(plan)
            return (left.pop(0),)

        monkeypatch.setattr(timing, "together", together)
        rows, signature = Rows(inputs={}, targets={}, digest=""), Signature("serving_default", {}, {})
        return timing.measured(asked(), rows, signature, None, None, Silent(), seconds=1.5), plans

    return run


@pytest.mark.parametrize("ratio", [0.5, 1.5])
def test_a_clear_ratio_is_measured_once(measured, ratio):
    found, plans = measured(times_of(ratio, noise=0.05))

    assert found.p50.ratio == pytest.approx(ratio, rel=0.05)
    assert [plan.seconds for plan in plans] == [1.5]


def test_a_limit_within_noise_is_measured_once_more_for_longer(measured):
    """The gate allows 1.1 x the source's latency."""
    found, plans = measured(times_of(1.11, noise=0.5), times_of(1.02, noise=0.05))

    assert found.p50.ratio == pytest.approx(1.02, rel=0.02)
    assert [plan.seconds for plan in plans] == [1.5, 6.0]
    assert plans[1].max_requests == 4 * plans[0].max_requests


@pytest.mark.parametrize("concurrency", [1, 2, 7, 64])
def test_as_many_requests_are_in_the_model_at_once_as_the_sidecar_will_allow(concurrency):
    signature = Signature("serving_default", {"x": Tensor("float32", (None, 4))}, {})
    plan = timing.planned(asked(concurrency=concurrency, rows=3), signature, 1.5)
    assert (plan.concurrency, plan.batch_size, plan.percentile, plan.seconds) == (concurrency, 3, 50, 1.5)


@pytest.mark.parametrize(
    ("batching", "concurrency", "field"),
    [
        (None, 4, None),
        (8, 4, None),
        (15, 4, None),
        (16, 1, None),
        (16, 4, "spec.serving.batching.maxBatchSize"),
        (7, 1, "spec.serving.batching.maxBatchSize"),
    ],
)
def test_requests_of_a_fixed_batch_cannot_be_joined(batching, concurrency, field):
    fixed = Signature("serving_default", {"x": Tensor("float32", (8, 4))}, {})
    request = asked(batching=batching, concurrency=concurrency, rows=8)
    if field is None:
        timing.require_batch(request, fixed)
        return
    with pytest.raises(Invalid, match="exactly 8 rows at once") as refused:
        timing.require_batch(request, fixed)
    assert (refused.value.reason, refused.value.field) == ("FixedBatch", field)
