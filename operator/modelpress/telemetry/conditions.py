"""Conditions of every CompressedModel as metrics, read from the watched cache at each scrape."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from modelpress.api import base
from modelpress.telemetry import metrics


class Models(Protocol):
    """Where live objects are found."""

    def all(self, kind: str) -> Iterable[dict[str, Any]]: ...


class _Conditions(Collector):
    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "modelpress_resource_condition",
            "1 for the status that a condition of a CompressedModel has.",
            labels=["namespace", "name", "type", "status"],
        )
        for live in self._models.all(base.KIND):
            metadata = live["metadata"]
            for condition in (live.get("status") or {}).get("conditions") or ():
                values = (metadata["namespace"], metadata["name"], condition["type"], condition["status"])
                family.add_metric(values, 1)
        return [family]


@contextlib.contextmanager
def exposed(models: Models) -> Iterator[None]:
    """Within this context the conditions are among the metrics; a deleted object's are gone with it."""
    collector = _Conditions(models)
    metrics.REGISTRY.register(collector)
    try:
        yield
    finally:
        metrics.REGISTRY.unregister(collector)
