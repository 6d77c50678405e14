"""What tests of searches and of evaluations share."""

from __future__ import annotations

import pytest

from modelpress.compress.evaluation import latency


@pytest.fixture
def windows(monkeypatch):
    """The raw times of each window that latency was told of; what noise leaves of them is not the test's question."""
    taken = []
    summary = latency.summary

    def kept(times, plan, **more):
        taken.append(times)
        return summary(times, plan, **more)

    monkeypatch.setattr(latency, "summary", kept)
    return taken
