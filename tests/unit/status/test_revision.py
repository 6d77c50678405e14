"""A revision in the status: rounded for people, and read back when its Jobs are gone."""

from __future__ import annotations

import math

import pytest

from modelpress.api.measurement import Compared, LatencyMeasured, Measurements, MetricMeasured
from modelpress.api.message import CandidateReported, Message
from modelpress.status import revision
from modelpress.status.revision import Location

LOCATION = Location("pvc://claim/a/b", "nlp", "ab" * 32, "candidates/2")


@pytest.mark.parametrize(("value", "expected"), [
    (0.123456, 0.1235),
    (102760448.0, 102760448.0),
    (21.43219, 21.43),
    (0.0, 0.0),
    (None, None),
    (math.nan, None),
    (math.inf, None),
])  # fmt: skip
def test_numbers_have_four_significant_digits_and_bytes_stay_whole(value: float | None, expected: float | None) -> None:
    assert revision.rounded(value) == expected


def test_a_location_survives_its_uri() -> None:
    assert LOCATION.uri == f"pvc://claim/a/b/nlp/artifacts/{'ab' * 32}/candidates/2"
    assert revision.located(LOCATION.uri) == LOCATION
    assert revision.located("s3://elsewhere") is None
    assert revision.located(None) is None


def test_what_was_measured_can_be_judged_again() -> None:
    measured = Measurements(
        metrics=(MetricMeasured(type="Accuracy", source=0.9123456, value=0.9, drop=0.0123456, standard_error=0.001),),
        size_bytes=Compared(source=1000, value=250, ratio=0.25),
        latency_milliseconds=LatencyMeasured(
            percentile=99, batch_size=1, gross=Compared(source=3, value=1, ratio=1 / 3)
        ),
    )
    made = revision.of_candidate(
        4,
        inputs="sha256:r",
        compress=Message(outcome="Done", source_digest="sha256:s", compressor="0.1.0"),
        candidate=CandidateReported(index=2, recipe="q", form="TFLite", digest="sha256:c", size_bytes=250),
        evaluation=Message(outcome="Done", samples=500, evidence="Labelled", measured=measured),
        location=LOCATION,
        image="serving:1",
        job="bert-compress-0123456789",
    )
    assert made.metrics is not None and made.metrics[0].drop == 0.01235
    again = revision.measurements(made, percentile=99)
    assert again.metrics[0].drop == 0.01235
    assert again.size_bytes == measured.size_bytes
    assert again.latency_milliseconds is not None and again.latency_milliseconds.gross.ratio == 0.3333
    assert again.memory_bytes is None
    assert not revision.is_source(made)


def test_the_source_is_known_by_its_place() -> None:
    compress = Message(outcome="Done", source_servable_digest="sha256:v")
    made = revision.of_source(1, inputs="sha256:r", compress=compress, location=LOCATION, image="serving:1", job="j")
    assert revision.is_source(made)
    assert (made.digest, made.format, made.metrics) == ("sha256:v", "SavedModel", None)
