"""Reports to show: the kinds of end that a run can have."""

from __future__ import annotations

import pytest

from modelpress.api.artifact import Refused
from modelpress.api.gate import Gate, Metric
from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.compress.report.document import (
    Answered,
    CandidateReport,
    Decision,
    Judgement,
    Report,
    SourceReport,
    Times,
    Traffic,
)

MIB = 2**20


def compared(source, value):
    return Compared(source=source, value=value, ratio=value / source)


def a_candidate(index, form="TFLite", *, passed=True, size=22 * MIB, latency=9.1, drop=0.0005, **measured):
    verdict = ("Passed", "Accuracy of scores drops by 0.0005, size is 0.2529 x the source's, p95 latency 0.2661 x")
    if not passed:
        verdict = ("TooSlow", "p95 latency is 1.21 x the source's, 1.1 x is allowed")
    measurements = Measurements(
        **{
            "metrics": (
                MetricMeasured(
                    type="Accuracy",
                    output="scores",
                    source=0.7945,
                    value=0.7945 - drop,
                    drop=drop,
                    standard_error=0.0026,
                    agreement=0.981,
                ),
            ),
            "size_bytes": compared(87 * MIB, size),
            "latency_milliseconds": LatencyMeasured(
                percentile=95,
                batch_size=1,
                gross=compared(34.2, latency),
                p50=compared(31.0, latency * 0.9),
                ratio_low=latency / 34.2 * 0.95,
                ratio_high=latency / 34.2 * 1.06,
            ),
            "memory_bytes": compared(612 * MIB, 240 * MIB),
            **measured,
        }
    )
    return CandidateReport(
        index=index,
        recipe="quantize DynamicInt8" if passed else "quantize Float16",
        form=form,
        digest=f"sha256:{index:064x}",
        size_bytes=size,
        evaluation="e" * 64,
        evidence="Labelled",
        samples=2000,
        server="modelpress serve 0.1.0",
        measurements=measurements,
        verdict=Judgement(passed=passed, reason=verdict[0], message=verdict[1]),
        reused=False,
    )


@pytest.fixture
def a_report():
    """Build a Report; fields may be replaced."""

    def build(**fields):
        decision = Decision(
            serves="Candidate", candidate=1, reason="Passed", message="Candidate 1 is served: the fastest that passed."
        )
        return Report(
            **{
                "name": "sentiment",
                "namespace": "default",
                "modelpress": "0.1.0",
                "artifact": "a" * 64,
                "directory": "/store",
                "source": SourceReport(
                    uri="data/model", digest="sha256:" + "5" * 64, format="SavedModel", size_bytes=87 * MIB
                ),
                "gate": Gate(metrics=(Metric(type="Accuracy", max_drop=0.01),)),
                "candidates": (a_candidate(1), a_candidate(2, "SavedModel", passed=False, size=44 * MIB, latency=41.4)),
                "refused": (
                    Refused(
                        recipe="quantize Float16",
                        form="TFLite",
                        reason="NotFinite",
                        message="output note holds NaN in 12 of 32 rows",
                    ),
                ),
                "decision": decision,
                "traffic": Traffic(
                    answered=(Answered(request="POST :predict", answer="[[0.1, 0.9]]"),),
                    uncached=Times(requests=200, p50=8.4, p95=9.9),
                    cached=Times(requests=600, p50=0.31, p95=0.44),
                    hits=600,
                ),
                **fields,
            }
        )

    return build


@pytest.fixture
def make_candidate():
    """Build a CandidateReport."""
    return a_candidate
