"""Made-up rows prove little, which a verdict says."""

from __future__ import annotations

import pytest

from modelpress.api.gate import Gate
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.status import gate

FINE = Measurements(
    metrics=(MetricMeasured(type="Fidelity", value=1.0, drop=0.0, standard_error=0.0),),
    size_bytes=Compared(source=2, value=1, ratio=0.5),
    latency_milliseconds=LatencyMeasured(percentile=95, batch_size=1, gross=Compared(source=2, value=1, ratio=0.5)),
)


def test_a_verdict_on_made_up_rows_is_told_to_rest_on_them_with_the_cure():
    verdict = gate.judge(FINE, Gate(), samples=64, evidence="Synthetic")
    assert verdict.passed
    (warning,) = verdict.warnings
    assert warning.startswith("nothing was measured on real rows: source and candidate were compared on 64 rows")
    assert "set spec.data.evaluation" in warning


@pytest.mark.parametrize("evidence", ["Labelled", "Unlabelled", "WarmupRequests", None])
def test_real_rows_are_not_warned_of(evidence):
    assert gate.judge(FINE, Gate(), samples=64, evidence=evidence).warnings == ()
