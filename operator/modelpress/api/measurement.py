"""What an evaluation found: metrics, size, latency and memory, measured through a server's API."""

from __future__ import annotations

from typing import Literal

from modelpress.api.base import Model

Evidence = Literal["Labelled", "Unlabelled", "WarmupRequests", "Synthetic"]


class MetricMeasured(Model):
    """One metric of the gate. Drop is absolute and + is worse, whatever the direction of the metric."""

    type: str
    output: str | None = None
    source: float | None = None
    """Value of the source; None where it is not a number, or the metric compares with the source."""
    value: float | None = None
    """Value of the candidate; None where it is NaN or infinite, which never passes."""
    drop: float | None = None
    standard_error: float | None = None
    """Of the (paired) difference, in the metric's unit."""
    agreement: float | None = None
    """Share of equal decisions of source and candidate, for information: it can look well where F1 does not."""
    chance: float | None = None
    """What the best single answer to all rows would be worth; None where the metric compares with the source."""
    chance_error: float | None = None
    """Standard error of the (paired) difference between that and the source."""


class Compared(Model):
    """A quantity of source and candidate, and value / source."""

    source: float
    value: float
    ratio: float


class LatencyMeasured(Model):
    """Milliseconds at one percentile: gross at the client; net minus a constant-output model on the same server."""

    percentile: int
    batch_size: int
    gross: Compared
    net: Compared | None = None
    p50: Compared | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    """95 % confidence interval of the gross ratio."""
    net_ratio_low: float | None = None
    net_ratio_high: float | None = None
    """The same of the net ratio."""
    constant: float | None = None
    """Median, over all rounds, of the constant-output model beside the candidate; None where it had none.

    Earlier versions did not keep it. Net latency does not tell it: that is of the quieter rounds.
    """


class Measurements(Model):
    """Everything that the gate judges. `failure` says that the candidate could not be measured at all."""

    metrics: tuple[MetricMeasured, ...] = ()
    size_bytes: Compared | None = None
    latency_milliseconds: LatencyMeasured | None = None
    memory_bytes: Compared | None = None
    failure: str | None = None
    """A reason such as `DoesNotLoad`; `failure_message` says more."""
    failure_message: str | None = None


class Evaluation(Model):
    """`evaluations/<E>.json`."""

    key: str
    """Evaluation key E, 64 hex digits."""
    artifact: str
    """Artifact key K."""
    candidate: int
    digest: str
    """Content digest of the candidate's servable."""
    recipe: str
    form: str
    evidence: Evidence
    samples: int
    server: str
    """What measured: `tensorflow_model_server 2.20.0`, or `modelpress serve 0.1.0`."""
    measurements: Measurements
