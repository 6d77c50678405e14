"""Quantities and durations."""

from __future__ import annotations

import pytest

from modelpress.api import duration, quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", 0.5),
        ("2", 2),
        (2, 2),
        ("1.5", 1.5),
        ("256Mi", 268_435_456),
        ("1k", 1000),
        ("1Ki", 1024),
        ("2G", 2e9),
        ("1Ti", 2**40),
        ("1P", 1e15),
    ],
)
def test_quantities_are_bytes_and_cpus(text, number):
    assert quantity.number(text) == number


@pytest.mark.parametrize("text", ["", "lots", "1 Gi", "Gi", "-1", "1e3", "1K"])
def test_other_words_are_no_quantities(text):
    with pytest.raises(ValueError, match="is not a quantity such as 500m, 2 or 256Mi"):
        quantity.number(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("1h30m", 5400), ("2ms", 0.002), ("1m500ms", 60.5), ("0s", 0)]
)
def test_durations_are_seconds(text, seconds):
    assert duration.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1d", "30", "s", "1.5h", "30s\n", "PT30M"])
def test_other_words_are_no_durations(text):
    with pytest.raises(ValueError, match="is not a duration such as 500ms, 30s or 1h30m"):
        duration.seconds(text)
