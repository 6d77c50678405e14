"""The document of a run: everything that was found, decided and measured; tables and pages only show it."""

from __future__ import annotations

from typing import Literal

from modelpress.api.artifact import Refused
from modelpress.api.base import Model
from modelpress.api.gate import Gate
from modelpress.api.measurement import Compared, Evidence, Measurements
from modelpress.api.trial import Trial

Serves = Literal["Candidate", "Source", "Nothing"]


class Judgement(Model):
    """The gate's verdict on one candidate."""

    passed: bool
    reason: str
    message: str


class CandidateReport(Model):
    """A candidate, what was measured, and the verdict."""

    index: int
    recipe: str
    form: str
    digest: str
    size_bytes: int
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    evaluation: str
    """Evaluation key E."""
    evidence: Evidence
    samples: int
    server: str
    measurements: Measurements
    verdict: Judgement
    reused: bool
    """Measured by an earlier run."""


class SourceReport(Model):
    """The source as it was read."""

    uri: str
    digest: str
    format: str
    size_bytes: int
    warnings: tuple[str, ...] = ()
    """What makes measurements worth little, each with its cure."""
    random_operations: tuple[str, ...] = ()
    """As in the manifest of the artifact."""


class Decision(Model):
    """What is served and why."""

    serves: Serves
    candidate: int | None = None
    reason: str
    message: str


class Served(Model):
    """Where clients reach the model; the addresses end with the run unless it keeps serving."""

    model: str
    digest: str
    rest: str
    """URL of the model behind the cache."""
    grpc: str
    """host:port behind the cache."""
    admin: str
    """URL of the sidecar's health, metrics and state."""
    server: str


class Answered(Model):
    """A real request and the model's answer, shortened for people."""

    request: str
    answer: str


class Times(Model):
    """Milliseconds of single requests, one after the other, at the client."""

    requests: int
    p50: float
    p95: float


class Traffic(Model):
    """Requests that were sent through the sidecar."""

    answered: tuple[Answered, ...] = ()
    uncached: Times | None = None
    cached: Times | None = None
    """None where the cache is off."""
    hits: int | None = None
    """As the sidecar counted them; None where it does not say."""


class Report(Model):
    """`report.json`, and what `modelpress run --output json` prints."""

    name: str
    namespace: str
    modelpress: str
    """Version."""
    artifact: str
    """Artifact key K."""
    directory: str
    """Where the artifact lies."""
    source: SourceReport
    gate: Gate
    candidates: tuple[CandidateReport, ...]
    refused: tuple[Refused, ...] = ()
    trials: tuple[Trial, ...] = ()
    """Of a search, in the order of trying."""
    decision: Decision
    reported: tuple[str, ...] = ()
    """Fields that a local run does not use, with the reason."""
    reused: int = 0
    """Parts that an earlier run had finished."""
    serving: Served | None = None
    traffic: Traffic | None = None
    page: str | None = None
    """Path of report.html."""
    seconds: float = 0
    exit_code: int = 0

    def winner(self) -> CandidateReport | None:
        """The candidate that is served; None where the source is, or nothing."""
        return next((one for one in self.candidates if one.index == self.decision.candidate), None)


def source_numbers(report: Report) -> Measurements | None:
    """Measurements of any candidate that was measured: their source sides describe the source."""
    measured = [one.measurements for one in report.candidates if one.measurements.latency_milliseconds]
    return measured[0] if measured else None


def ratio(compared: Compared | None) -> float | None:
    """Value / source, where both were measured."""
    return compared.ratio if compared else None
