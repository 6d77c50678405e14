"""How numbers are said to people."""

from __future__ import annotations

import pytest

from modelpress.status import wording


@pytest.mark.parametrize(
    ("value", "limit", "said"), [(0.031, 0.01, "0.031"), (1.4, 1.1, "1.4"), (0.0100001, 0.01, "0.0100001"), (1, 1, "1")]
)
def test_a_value_is_told_apart_from_its_limit(value: float, limit: float, said: str) -> None:
    assert wording.beside(value, limit) == said


@pytest.mark.parametrize(
    ("count", "said"), [(12, "12 bytes"), (2048, "2 KiB"), (25 * 2**20, "25 MiB"), (2**30, "1 GiB")]
)
def test_bytes_are_said_in_the_largest_fitting_unit(count: int, said: str) -> None:
    assert wording.size(count) == said


def test_no_number_is_a_dash() -> None:
    assert wording.short(None) == "-"
    assert wording.short(0.123456) == "0.1235"
