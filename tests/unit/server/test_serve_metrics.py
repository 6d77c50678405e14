"""Prometheus' text format with names that start with a colon."""

from __future__ import annotations

from modelpress.server.metrics import Counter, Histogram


def test_a_counter_counts_by_labels():
    counter = Counter(":a:b", ("model_name", "status"))
    counter.add('x"y', "OK")
    counter.add('x"y', "OK", amount=2)
    assert list(counter.lines()) == ["# TYPE :a:b counter", ':a:b{model_name="x\\"y",status="OK"} 3']


def test_a_histogram_is_cumulative():
    histogram = Histogram(":h", ("m",), (10, 18))
    for value in (1, 10, 17, 100):
        histogram.add(value, "x")
    assert list(histogram.lines()) == [
        "# TYPE :h histogram",
        ':h_bucket{m="x",le="10"} 1',
        ':h_bucket{m="x",le="18"} 3',
        ':h_bucket{m="x",le="+Inf"} 4',
        ':h_sum{m="x"} 128',
        ':h_count{m="x"} 4',
    ]


def test_a_metric_without_labels_has_no_braces():
    counter = Counter(":n", ())
    counter.add()
    assert list(counter.lines())[1] == ":n 1"
